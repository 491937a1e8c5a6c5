"""DORA's four keys of one host, from its ledger and journal.

Counted as `inv metrics` counts (deploy/incidents/dora.py, which has the definitions; a test compares the two), but for
lead time: here is no git, so it is that of the newest commit of each deploy.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monitoring.programs.records import COUNTED_FOR, moment

DAY, WEEK = 86400.0, 7.0
SLACK, ABORTED_WITHIN = 60.0, 7 * DAY  # seconds, as there
REVISION = 12  # digits
Line = Mapping[str, Any]


def keys(ledger: Sequence[Line], journal: Sequence[Line], now: float) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield the four keys of the last 30 days; what there is no number of is left out. Pure."""
    since = now - COUNTED_FOR
    deploys = [line for line in ledger if line.get("command") == "deploy" and line.get("outcome") == "in service"]
    recent = [line for line in deploys if ended(line) >= since]
    failures = [one for one in failed(ledger, switches(journal)) if one[0] >= since]
    total = len(recent) + sum(not served for _, _, served in failures)
    times = [restored - began for began, restored, _ in failures if restored]
    if ledger:
        first = min(moment(line, "started") for line in ledger)
        days = COUNTED_FOR / DAY if first <= since else max((now - first) / DAY, 1.0)
        yield "ops_dora_deploys_per_week", {}, len(recent) / days * WEEK
    if leads := [seconds for line, seconds in lead_times(deploys) if ended(line) >= since]:
        yield "ops_dora_lead_time_seconds", {}, statistics.median(leads)
    if total:
        yield "ops_dora_change_failure_rate", {}, min(len(failures) / total, 1.0)
    if times:
        yield "ops_dora_time_to_restore_seconds", {}, statistics.median(times)


def ended(line: Line) -> float:
    """Return when a command ended. Pure."""
    return moment(line, "started") + float(line.get("seconds") or 0)


def lead_times(deploys: Sequence[Line]) -> Iterator[tuple[Line, float]]:
    """Yield how long the newest commit of a deploy took, for the first deploy that had it. Pure."""
    arrived = set[str]()
    for line in deploys:
        revision = str(line.get("revision"))[:REVISION]
        if revision not in arrived and moment(line, "commit_time"):
            arrived.add(revision)
            yield line, ended(line) - moment(line, "commit_time")


def switches(journal: Sequence[Line]) -> dict[str, list[float]] | None:
    """Return when traffic was switched to each release; None where there is no journal. Pure."""
    times: dict[str, list[float]] = {}
    for line in journal:
        if line.get("step") == "Switch" and line.get("state") == "done":
            times.setdefault(str(line.get("target")), []).append(moment(line))
    return times if journal else None


def failed(
    ledger: Sequence[Line], switched: Mapping[str, list[float]] | None
) -> Iterator[tuple[float, float | None, bool]]:
    """Yield the deploys that visitors got and that were taken back: when, until when, whether it had served. Pure."""
    served = [line for line in ledger if line.get("outcome") == "in service"]
    for line, after in zip(served, [*served[1:], {}], strict=False):
        back = after.get("command") == "rollback" and after.get("release") != line.get("release")
        if line.get("command") == "deploy" and back:
            yield ended(line), ended(after), True
    for line in ledger:
        aborted, begin = line.get("outcome") == "aborted", moment(line, "started")
        if line.get("command") == "deploy" and line.get("outcome") in ("failed", "aborted"):
            until = begin + ABORTED_WITHIN if aborted else ended(line) + SLACK
            own = [time for time in (switched or {}).get(str(line.get("release")), ()) if begin <= time <= until]
            if own or switched is None:
                yield own[0] if own else begin, None if aborted else ended(line), False
