"""What a person is asked before a release goes into service: from which release, to which, each with its date."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.core.model import Record
from deploy.site.run import Fleet, Run


def before_deploy(fleet: Fleet) -> str:
    """Say which release a deploy puts in place of which."""
    release = fleet.release
    return f"deploy {release.id}, committed {moment(release.commit_time)}, in place of {each_dated(fleet)}"


def before_rollback(fleet: Fleet) -> str:
    """Say from which release to which a rollback goes."""
    return f"go back from {each_dated(fleet)} to {each_dated(fleet, fleet.release.id)}"


def each_dated(fleet: Fleet, release: str = "") -> str:
    """Name a release, or what serves, with its date on each host, hosts that agree once."""

    def on(run: Run) -> str:
        return dated(release or run.facts.edge.release or "nothing", run.state.ledger())

    return ", ".join(dict.fromkeys(fleet.each(on).values()))


def dated(release: str, entries: Sequence[Record]) -> str:
    """Name a release with the time at which it was put into service last. Pure."""
    times = [entry.started for entry in entries if (entry.release, entry.outcome) == (release, "in service")]
    return f"{release} (in service {moment(times[-1])})" if times else release


def moment(time: str) -> str:
    """Write a time of UTC for people, to the minute. Pure."""
    return f"{time[:10]} {time[11:16]} UTC"
