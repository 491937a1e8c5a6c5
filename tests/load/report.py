"""Say what the clients saw: counts, losses, releases, and a verdict that doubts itself."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from time import monotonic, process_time
from typing import Any

from .ledger import Ledger, Loss, Release, Tally
from .scenario import Scenario

PASS, FAIL, UNKNOWN = "PASS", "FAIL", "UNKNOWN"
EXIT_CODES: Mapping[str, int] = {PASS: 0, FAIL: 1, UNKNOWN: 3}


@dataclass(frozen=True)
class Kind:
    """Sum up one kind of client; latencies are milliseconds of the requests that were ok."""

    requests: int
    ok: int
    lost: int
    interrupted: int
    reopened: int
    p50: float
    p95: float
    max: float

    @classmethod
    def of(cls, tally: Tally) -> "Kind":
        """Sum up a tally."""
        times = sorted(tally.latencies) or [0.0]
        last = len(times) - 1
        p50, p95, longest = (round(1000 * times[int(share * last)], 1) for share in (0.5, 0.95, 1))
        counts = (tally.requests, tally.ok, tally.lost, tally.interrupted, tally.reopened)
        return cls(*counts, p50, p95, longest)


@dataclass(frozen=True)
class Report:
    """Hold everything one run has seen."""

    verdict: str
    reasons: list[str]
    seconds: float
    cpu_percent: float
    kinds: dict[str, Kind]
    releases: dict[str, Release]
    sockets: int
    assets: int
    failed_but_stored: int
    left_behind: int
    losses: list[Loss] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Count the lost requests of all kinds."""
        return sum(kind.lost for kind in self.kinds.values())

    @property
    def exit_code(self) -> int:
        """Give the exit code that belongs to the verdict."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> str:
        """Write the report as one line of JSON."""
        return json.dumps(asdict(self) | {"lost": self.lost})

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Read a report written by to_json."""
        data: dict[str, Any] = json.loads(text)
        data.pop("lost")
        data["kinds"] = {name: Kind(**kind) for name, kind in data["kinds"].items()}
        data["releases"] = {name: Release(**seen) for name, seen in data["releases"].items()}
        data["losses"] = [Loss(**loss) for loss in data["losses"]]
        return cls(**data)

    def table(self) -> str:
        """Show the report to a person."""
        titles = f"{'kind':8}" + "".join(f"{title:>10}" for title in Kind.__dataclass_fields__)
        rows = [
            f"{name:8}" + "".join(f"{value:>10}" for value in asdict(kind).values())
            for name, kind in self.kinds.items()
        ]
        return "\n".join([titles, *rows, *self._releases(), *self._losses(), self._summary()])

    def _releases(self) -> list[str]:
        return [
            f"release {name}: {seen.requests} requests, {seen.first:.2f} s to {seen.last:.2f} s"
            for name, seen in self.releases.items()
        ]

    def _losses(self) -> list[str]:
        shown = [f"LOST {x.kind} {x.at:.2f} s ({x.after_ms:g} ms) {x.path}: {x.what}" for x in self.losses]
        return [*shown, f"({len(shown)} of {self.lost} losses shown)"] if self.lost > len(shown) else shown

    def _summary(self) -> str:
        facts = f"{self.seconds:.1f} s, {self.cpu_percent:.0f} % of a core, {self.assets} assets"
        notes = f"{self.failed_but_stored} failed notes stored, {self.left_behind} books left behind"
        return f"{self.verdict} ({facts}, {self.sockets} sockets around, {notes}) {'; '.join(self.reasons)}"


def report_on(ledger: Ledger, scenario: Scenario, cpu_before: float) -> Report:
    """Judge what was counted: lost is FAIL, too little or any doubt is UNKNOWN."""
    seconds = monotonic() - ledger.started
    kinds = {name: Kind.of(tally) for name, tally in ledger.tallies.items()}
    lost = sum(kind.lost for kind in kinds.values())
    doubts = _doubts(ledger, scenario)
    faults = [f"{lost} lost"] if lost else ["a failed note is stored twice or wrong"] if ledger.losses else []
    return Report(
        verdict=FAIL if faults else UNKNOWN if doubts else PASS,
        reasons=faults + doubts,
        seconds=round(seconds, 2),
        cpu_percent=round(100 * (process_time() - cpu_before) / seconds, 1),
        kinds=kinds,
        releases=ledger.releases,
        sockets=ledger.sockets,
        assets=len(ledger.assets),
        failed_but_stored=ledger.failed_but_stored,
        left_behind=ledger.left_behind,
        losses=ledger.losses,
    )


def _doubts(ledger: Ledger, scenario: Scenario) -> list[str]:
    seen = {name: tally.ok for name, tally in ledger.tallies.items()}
    looked: dict[str, int] = {name: seen[name] for name in ("post", "upload") if name in seen}
    reads = [seen[name] for name in ("get", "new") if name in seen]
    if reads:
        looked["get"] = sum(reads)
        if not scenario.paths:
            looked["asset"] = len(ledger.assets)
    if "ws" in seen:
        looked["ws"] = ledger.sockets
    few = [(name, count, scenario.minimums[name]) for name, count in looked.items()]
    return [
        *ledger.errors,
        *(f"only {count} of {least} {name}" for name, count, least in few if count < least),
        *(f"no {name} was ok" for name, count in seen.items() if not count),
        *(f"{name}: the counts do not add up" for name, tally in ledger.tallies.items() if _leaks(tally)),
    ]


def _leaks(tally: Tally) -> bool:
    return tally.requests != tally.ok + tally.lost + tally.interrupted
