"""DORA's four keys as pure functions of ledger lines, switches of the journal, and commits.

Definitions: https://dora.dev/guides/dora-metrics-four-keys/. What stands in for each of them here is in `SOURCES`.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from deploy.core.model import Record

DORA = "https://dora.dev/guides/dora-metrics-four-keys/"
SOURCES = {
    "deployment frequency": "deploys that came into service, a week",
    "lead time": "median of all commits, from the commit to the end of the deploy that first had it",
    "change failure rate": "deploys that visitors got and that were taken back, by the watch or by a rollback",
    "time to restore": "median, from when visitors got such a deploy to when another release was back",
}
REVISION = 12  # digits of a commit in a release's revision
WEEK = 7.0
ABORTED_WITHIN = timedelta(days=7)  # after a deploy began
SLACK = 60  # seconds by which the clocks of journal and ledger may differ


@dataclass(frozen=True)
class Commit:
    """A commit: seconds since 1970, and its parents."""

    time: int
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Switched:
    """When traffic was switched to a release, as the journal has it."""

    release: str
    time: datetime


@dataclass(frozen=True)
class Recorded:
    """What is read: ledger lines, oldest first, the journal's switches, commits by id, and what could not be read.

    `switches` is None where no journal could be read; `lost` and `gitless` say why ledger and commits are not whole.
    """

    entries: Sequence[Record]
    switches: Sequence[Switched] | None = ()
    commits: Mapping[str, Commit] | None = None
    lost: str = ""
    gitless: str = ""


@dataclass(frozen=True)
class Measure:
    """One of the four keys: its value, or why there is none; `unknown` where that could not be seen."""

    name: str
    value: float | None
    unit: str
    evidence: str
    unknown: bool = False

    @property
    def source(self) -> str:
        """How it is counted."""
        return SOURCES[self.name]

    @property
    def shown(self) -> str:
        """The value as people read it."""
        if self.value is None:
            return "UNKNOWN" if self.unknown else "none"
        if self.unit == "seconds":
            return duration(self.value)
        return f"{self.value:.0%}" if self.unit == "share" else f"{self.value:.1f} {self.unit}"


@dataclass(frozen=True)
class Failure:
    """A deploy that visitors got and that was taken back: when, and when another release was back, or None.

    `served` tells whether it came into service before, so that it is one of those that did.
    """

    release: str
    began: datetime
    restored: datetime | None
    served: bool = True


def measures(recorded: Recorded, now: datetime, days: float) -> tuple[Measure, ...]:
    """Compute the four keys of the last `days`. Pure."""
    since = now - timedelta(days=days)
    if recorded.lost:
        return tuple(Measure(name, None, "", recorded.lost, unknown=True) for name in SOURCES)
    served = [entry for entry in recorded.entries if entry.outcome == "in service"]
    deploys = [entry for entry in served if entry.command == "deploy"]
    window = [entry for entry in deploys if ended(entry) >= since]
    failures = [one for one in failed(recorded.entries, recorded.switches) if one.began >= since]
    return (
        frequency(recorded.entries, window, since, now, days),
        lead_time(deploys, since, recorded),
        failure_rate(window, failures, recorded.switches),
        time_to_restore(window, failures),
    )


def began(entry: Record) -> datetime:
    """Read when a command began; times without a zone are UTC. Pure."""
    time = datetime.fromisoformat(entry.started)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def ended(entry: Record) -> datetime:
    """Return when a command ended. Pure."""
    return began(entry) + timedelta(seconds=entry.seconds)


def frequency(
    entries: Sequence[Record], window: Sequence[Record], since: datetime, now: datetime, days: float
) -> Measure:
    """Count deploys a week, from the first line of the ledger where that is younger than the window. Pure."""
    first = min((began(entry) for entry in entries), default=now)
    length = days if first <= since else max((now - first).total_seconds() / 86400, 1.0)
    evidence = f"{len(window)} in {length:.0f} day(s)" + ("" if first <= since else ", as old as the ledger is")
    return Measure("deployment frequency", round(len(window) / length * WEEK, 2), "a week", evidence)


def lead_time(deploys: Sequence[Record], since: datetime, recorded: Recorded) -> Measure:
    """Return the median seconds from commit to production. Pure."""
    name, unit = "lead time", "seconds"
    if recorded.commits is None:
        return Measure(name, None, unit, recorded.gitless, unknown=True)
    arrivals = list(first_deploys(deploys, recorded.commits))
    recent = [(entry, commit) for entry, commit in arrivals if ended(entry) >= since]
    there = {commit[:REVISION] for commit in recorded.commits}
    strangers = {e.revision for e in deploys if ended(e) >= since} - {
        e.revision for e in deploys if e.revision[:REVISION] in there
    }
    times = [ended(entry).timestamp() - commit.time for entry, commit in recent]
    early = sum(seconds < 0 for seconds in times)
    if strangers:
        what = f"{len(strangers)} revision(s) that were deployed are not in this checkout's history: git fetch --all"
        return Measure(name, None, unit, what, unknown=True)
    if early:
        what = f"{early} commit(s) are younger than their deploy: a clock is wrong"
        return Measure(name, None, unit, what, unknown=True)
    if not times:
        return Measure(name, None, unit, "no commit came into service in this time")
    evidence = f"{len(times)} commit(s); the slowest took {duration(max(times))}"
    return Measure(name, round(statistics.median(times), 1), unit, evidence)


def first_deploys(deploys: Iterable[Record], commits: Mapping[str, Commit]) -> Iterator[tuple[Record, Commit]]:
    """Pair each commit with the deploy that first had it; of the first deploy of all the newest commit alone. Pure."""
    short = {commit[:REVISION]: commit for commit in commits}
    arrived = set[str]()
    for number, entry in enumerate(deploys):
        queue = [short[head]] if (head := entry.revision[:REVISION]) in short else []
        mine = list[str]()
        while queue:
            commit = queue.pop()
            if commit not in arrived and commit in commits:
                arrived.add(commit)
                mine.append(commit)
                queue.extend(commits[commit].parents)
        yield from ((entry, commits[commit]) for commit in (mine if number else mine[:1]))


def failed(entries: Sequence[Record], switches: Sequence[Switched] | None) -> Iterator[Failure]:
    """Yield the deploys that visitors got and that were taken back.

    By a rollback: the next line in service goes back to another release. By the toolkit: the deploy failed after
    traffic was switched to it; where no journal can be read every failed deploy counts. Pure.
    """
    times: dict[str, list[datetime]] = {}
    for one in switches or ():
        times.setdefault(one.release, []).append(one.time)
    served = [entry for entry in entries if entry.outcome == "in service"]
    for entry, after in zip(served, [*served[1:], None], strict=False):
        taken_back = after and after.command == "rollback" and after.release != entry.release
        if entry.command == "deploy" and after and taken_back:
            yield Failure(entry.release, ended(entry), ended(after))
    for entry in entries:
        if entry.command == "deploy" and entry.outcome in ("failed", "aborted"):
            yield from switched(entry, times.get(entry.release, []), read=switches is not None)


def switched(entry: Record, times: Sequence[datetime], *, read: bool) -> Iterator[Failure]:
    """Yield the failure of a deploy whose traffic was switched; of one of which nobody can say that, too. Pure.

    When an abort ended the ledger does not say.
    """
    begin, aborted = began(entry), entry.outcome == "aborted"
    end = began(entry) + ABORTED_WITHIN if aborted else ended(entry) + timedelta(seconds=SLACK)
    own = [time for time in times if begin <= time <= end]
    if own or not read:
        yield Failure(entry.release, own[0] if own else begin, None if aborted else ended(entry), served=False)


def failure_rate(window: Sequence[Record], failures: Sequence[Failure], switches: Sequence[Switched] | None) -> Measure:
    """Return the share of deploys that visitors got and that were taken back. Pure."""
    total = len(window) + sum(not one.served for one in failures)
    if not total:
        return Measure("change failure rate", None, "share", "nothing was deployed in this time")
    evidence = f"{len(failures)} of {total} deploy(s)"
    if switches is None:
        evidence += "; the journal cannot be read, so that every failed deploy counts"
    return Measure("change failure rate", min(len(failures) / total, 1.0), "share", evidence)


def time_to_restore(window: Sequence[Record], failures: Sequence[Failure]) -> Measure:
    """Return the median seconds from a failed deploy to another release. Pure."""
    name, unit = "time to restore", "seconds"
    if not failures:
        evidence = "no deploy failed in this time" if window else "nothing was deployed in this time"
        return Measure(name, None, unit, evidence)
    times = [(one.restored - one.began).total_seconds() for one in failures if one.restored]
    if not times:
        evidence = f"{len(failures)} deploy(s) were aborted, and the ledger does not say when that ended"
        return Measure(name, None, unit, evidence, unknown=True)
    evidence = f"{len(times)} failed deploy(s); the slowest took {duration(max(times))}"
    return Measure(name, round(statistics.median(times), 1), unit, evidence)


def duration(seconds: float) -> str:
    """Write seconds in their largest unit. Pure."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
