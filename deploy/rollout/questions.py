"""The questions before a deploy and a rollback: from which release, to which, each with its date."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.core.model import Record
from deploy.site.run import Fleet, Run


def before_deploy(fleet: Fleet) -> str:
    """Return the question before a deploy."""
    release = fleet.release
    return f"deploy {release.id}, committed {moment(release.commit_time)}, in place of {with_dates(fleet)}"


def before_rollback(fleet: Fleet) -> str:
    """Return the question before a rollback."""
    return f"go back from {with_dates(fleet)} to {with_dates(fleet, fleet.release.id)}"


def with_dates(fleet: Fleet, release: str = "") -> str:
    """Name a release, or what serves, with its date on each host; hosts that agree are named once."""

    def on(run: Run) -> str:
        return with_date(release or run.facts.edge.release or "nothing", run.state.ledger())

    return ", ".join(dict.fromkeys(fleet.each(on).values()))


def with_date(release: str, entries: Sequence[Record]) -> str:
    """Name a release with the time at which it was put into service last. Pure."""
    times = [entry.started for entry in entries if (entry.release, entry.outcome) == (release, "in service")]
    return f"{release} (in service {moment(times[-1])})" if times else release


def moment(time: str) -> str:
    """Write a time of UTC for people, to the minute. Pure."""
    return f"{time[:10]} {time[11:16]} UTC"
