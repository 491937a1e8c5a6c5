"""The eight gates of an environment, judged from what was gathered. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from deploy.backups.points import Evidence
from deploy.backups.show import age
from deploy.core.model import Record
from deploy.incidents.arrival import Arrival
from deploy.insight import compare
from deploy.insight.compare import Comparison, View
from deploy.site.checks import Check, Result
from deploy.state.folder import parse_time
from deploy.state.scans import CLOCKS, Scan

# how old a proof may be: longer ago it says nothing of what runs now
RESTORED_DAYS = 8  # .github/workflows drills every week
REHEARSED_DAYS = 30
NOW = "now"
AHEAD = "which is yet to come by the clock of this machine"
LISTED = 3  # so many reasons are shown


@dataclass(frozen=True)
class Gate:
    """One gate: PASS, FAIL or UNKNOWN, by what evidence, from when that is, and the next command.

    `since` is a time, NOW for what was just looked at, and empty where there is no evidence.
    """

    name: str
    result: Result
    evidence: str
    since: str = ""
    then: str = ""

    @property
    def check(self) -> Check:
        """The gate as every other check."""
        return Check(self.name, self.result, self.evidence, self.then)

    def age(self, now: datetime) -> str:
        """Write how old the evidence is; nothing where there is none."""
        return self.since if self.since == NOW else age(self.since, now) if self.since else "-"

    def document(self, now: datetime) -> dict[str, object]:
        """Return the gate for programs; `age` in seconds, null where there is no evidence."""
        taken = now if self.since == NOW else parse_time(self.since) if self.since else None
        seconds = round((now - taken).total_seconds()) if taken else None
        return {
            "gate": self.name,
            "result": self.result,
            "evidence": self.evidence,
            "age": seconds,
            "next": self.then,
        }


def services(views: Mapping[str, View], unreachable: Collection[str]) -> Gate:
    """Judge whether every service of the release runs, with the chosen replicas."""
    name, lost = "services up", [host for host, view in views.items() if view.facts.edge.release and not view.release]
    wrong = [(host, one) for host, view in views.items() for one in compare.differences(view)]
    if unreachable or lost:
        words = [f"{host} is not reached" for host in sorted(unreachable)]
        words += [f"the record of the release of {host} is gone" for host in lost]
        return Gate(name, "UNKNOWN", "; ".join(words), then="inv status")
    if not any(view.facts.edge.release for view in views.values()):
        return Gate(name, "FAIL", "nothing is deployed", NOW, "inv deploy")
    if wrong:
        evidence = "; ".join(f"{host}: {one.what}" for host, one in wrong[:LISTED])
        return Gate(name, "FAIL", evidence, NOW, wrong[0][1].then)
    seen = sorted({c.service for view in views.values() for c in view.facts.containers if c.state == "running"})
    return Gate(name, "PASS", f"{len(seen)} services: {', '.join(seen)}", NOW)


def health(views: Mapping[str, View], compared: Comparison, unreachable: Collection[str] = ()) -> Gate:
    """Judge whether web services answer through the edge, and whether containers say that they are well."""
    name = "health green"
    asked = {f"{host} {service}": status for host, view in views.items() for service, status in view.answers.items()}
    unwell = [c.name for view in views.values() for c in view.facts.containers if c.alive and c.health == "unhealthy"]
    bad = [f"{service} answers {status or 'nothing'}" for service, status in asked.items() if status != 200]
    bad += [f"{container} is unhealthy" for container in unwell]
    if compared.visitors == "maintenance":
        return Gate(name, "FAIL", "visitors get the maintenance page", NOW, "inv maintenance --off")
    if bad or compared.visitors == "errors":
        evidence = "; ".join(bad[:LISTED]) or "visitors get errors"
        return Gate(name, "FAIL", evidence, NOW, compared.then or "inv status")
    if unreachable or not asked:
        return Gate(name, "UNKNOWN", not_reached(unreachable) or "no web service was asked", then="inv status")
    first = "" if any(view.public is not None for view in views.values()) else "; the first page was not asked"
    return Gate(name, "PASS", f"{len(asked)} web service(s) answer 200 through the edge{first}", NOW)


def vulnerabilities(
    images: Mapping[str, Scan | None], now: datetime, days: float, unreachable: Collection[str] = ()
) -> Gate:  # fmt: skip
    """Judge the recorded scans of every image that serves, by its digest; none where an image was not scanned.

    A PASS of more than `days` ago is none: new vulnerabilities are published every day.
    """
    name, then = "no critical or high vulnerability", "inv scan"
    if not images:
        return Gate(name, "UNKNOWN", "no record says which images serve", then=then)
    scans = [scan for scan in images.values() if scan]
    oldest = min((scan.since for scan in scans), key=parse_time, default="")
    failing = [f"{scan.image}: {'; '.join(scan.reasons[:LISTED])}" for scan in scans if scan.result == "FAIL"]
    unsure = [f"{scan.image}: {'; '.join(scan.reasons[:LISTED])}" for scan in scans if scan.result == "UNKNOWN"]
    if failing:
        return Gate(name, "FAIL", "; ".join(failing[:LISTED]), oldest, then)
    if missing := sorted(image for image, scan in images.items() if not scan):
        return Gate(name, "UNKNOWN", f"not scanned: {', '.join(missing)}", oldest, then)
    if unsure:
        return Gate(name, "UNKNOWN", "; ".join(unsure[:LISTED]), oldest, then)
    if outdated := [f"{scan.image} {why}" for scan in scans if (why := scan.outdated(now, days))]:
        return Gate(name, "UNKNOWN", "; ".join(outdated[:LISTED]), oldest, then)
    if unreachable:
        return Gate(name, "UNKNOWN", not_reached(unreachable), oldest, "inv status")
    return Gate(name, "PASS", f"{len(images)} image(s), by their digests", oldest)


def restored(lines: Sequence[Evidence], *, lost: str, expected: bool, now: datetime) -> Gate:
    """Judge when a recovery point was restored last; `lost` says what of that record cannot be read.

    `expected` tells whether the release has a backup service.
    """
    name, then = "backup restored", "inv backup.drill"
    if not expected:
        return Gate(name, "FAIL", "no service has the role backup: nothing is saved", then="docs/how-to/backups.md")
    proofs = [line for line in lines if line.state == "restored"]
    if ahead := [line.time for line in proofs if is_ahead(line.time, now)]:
        proofs = [line for line in proofs if not is_ahead(line.time, now)]
        lost = lost or f"a restore is dated {ahead[-1]}, {AHEAD}"
    recent = [line for line in proofs if now - parse_time(line.time) <= timedelta(days=RESTORED_DAYS)]
    if lost and not recent:
        return Gate(name, "UNKNOWN", lost, then=then)
    if not proofs:
        return Gate(name, "FAIL", "no recovery point was ever restored", then=then)
    last = max(proofs, key=lambda line: line.time)
    evidence = f"point {last.point}: {last.detail}".removesuffix(": ")
    if not recent:
        return Gate(name, "FAIL", f"longer than {RESTORED_DAYS} days ago: {evidence}", last.time, then)
    return Gate(name, "PASS", evidence, last.time)


def rehearsed(entries: Sequence[Record], *, lost: str, now: datetime) -> Gate:
    """Judge when a rollback went back to another release last; `lost` says why the ledger lacks lines."""
    name, served = "rollback rehearsed", [entry for entry in entries if entry.outcome == "in service"]
    several = len({entry.release for entry in served}) > 1
    then = f"inv rollback, then inv deploy --to={served[-1].release}" if several else "inv deploy of a second release"
    moved = [after for before, after in pairwise(served) if after.release != before.release]
    back = [entry for entry in moved if entry.command == "rollback"]
    if ahead := [entry.started for entry in back if is_ahead(entry.started, now)]:
        back = [entry for entry in back if not is_ahead(entry.started, now)]
        lost = lost or f"a rollback is dated {ahead[-1]}, {AHEAD}"
    failed = [entry for entry in entries if entry.command == "rollback" and entry.outcome != "in service"]
    if failed and (not back or failed[-1].started > back[-1].started):
        return Gate(
            name, "FAIL", f"the last one was {failed[-1].outcome}: {failed[-1].release}", failed[-1].started, then
        )
    if back and now - parse_time(back[-1].started) <= timedelta(days=REHEARSED_DAYS):
        took = f"to {back[-1].release} in {back[-1].seconds:.1f} s"
        return Gate(name, "PASS", took, back[-1].started)
    if lost:
        return Gate(name, "UNKNOWN", lost, then="inv history")
    if back:
        return Gate(name, "FAIL", f"longer than {REHEARSED_DAYS} days ago", back[-1].started, then)
    return Gate(name, "FAIL", "no rollback was ever done here", then=then)


def not_reached(unreachable: Collection[str]) -> str:
    """Name the hosts that are not reached: what they serve was not looked at."""
    return "; ".join(f"{host} is not reached" for host in sorted(unreachable))


def is_ahead(time: str, now: datetime) -> bool:
    """Tell whether a time is yet to come, by more than clocks differ: it would be recent for ever."""
    return parse_time(time) - now > CLOCKS


def dashboards(checks: Mapping[str, Check], unreachable: Collection[str]) -> Gate:
    """Judge whether every panel of every host's dashboards has finite data, by each host's check."""
    name, several = "dashboards show data", len(checks) + len(unreachable) > 1
    words = {host: f"{host}: {check.evidence}" if several else check.evidence for host, check in checks.items()}
    if failing := [host for host, check in checks.items() if check.result == "FAIL"]:
        return Gate(name, "FAIL", "; ".join(words[host] for host in failing[:LISTED]), NOW, checks[failing[0]].then)
    unsure = [words[host] for host, check in checks.items() if check.result == "UNKNOWN"]
    unsure += [f"{host} is not reached" for host in sorted(unreachable)]
    if unsure or not checks:
        return Gate(name, "UNKNOWN", "; ".join(unsure[:LISTED]) or "nothing is deployed", then="inv monitor.up")
    return Gate(name, "PASS", "; ".join(words.values()), NOW)


def logs(arrivals: Sequence[Arrival], unreachable: Collection[str]) -> Gate:
    """Judge whether a line of every container that runs is read back."""
    name, then = "logs arrive", "inv logs"
    wrong = [one for one in arrivals if one.trouble]
    words = "; ".join(f"{one.container}: {one.trouble}" for one in wrong[:LISTED])
    if any(not one.unsure for one in wrong):
        return Gate(name, "FAIL", words, NOW, then)
    lost = [f"{host} is not reached" for host in sorted(unreachable)]
    if wrong or lost or not arrivals:
        return Gate(name, "UNKNOWN", "; ".join([words, *lost]).strip("; ") or "no container runs", then="inv status")
    own = [one.container for one in arrivals if one.own]
    by_own = f"; by lines of their own, since nothing in them can write: {', '.join(own)}" if own else ""
    slowest = max((one.seconds or 0.0 for one in arrivals), default=0.0)
    return Gate(name, "PASS", f"{len(arrivals)} of {len(arrivals)} containers, within {slowest:.1f} s{by_own}", NOW)
