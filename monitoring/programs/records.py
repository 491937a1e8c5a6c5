"""What the toolkit wrote down on this host: ledger, journal, release, and what somebody stopped on purpose."""

from __future__ import annotations

import json
import math
import time
from calendar import timegm
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

RUNNING = ("web", "worker", "scheduler", "data", "wal", "edge")  # roles whose services should run all the time
TAIL = 1 << 18  # bytes of ledger and journal
DEPLOYS = ("deploy", "rollback")
TAKEDOWN = "TakeDown"  # the step that `inv down` begins with
STOPS, STARTS, RECREATES = "StopColour", "StartColour", "RecreateShared"
COUNTED_FOR = 30 * 86400  # seconds
STOPPED_FOR = 600  # seconds for which nobody misses what an unfinished deploy has stopped
UNDER_WAY = 1200  # seconds that taking down, or a first deploy after it, may last


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Read the last lines of a file of JSON lines, those that can be read; none where there is no such file."""
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    records = []
    for line in text.splitlines():
        with suppress(ValueError):
            records.append(json.loads(line))
    return [line for line in records if isinstance(line, dict)]


def document(file: Path) -> dict[str, Any]:
    """Read a JSON document; empty where there is none that can be read."""
    try:
        read = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}


def in_service(ledger: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ledger's line of the release in service; empty where there is none. Pure."""
    return dict(next((line for line in reversed(list(ledger)) if line.get("outcome") == "in service"), {}))


def expected(release: Mapping[str, Any], scale: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """Say how many containers of each service a release should have: (service, role) -> number. Pure."""
    services = [(one["name"], one["deploy"]["role"], one.get("replicas", 1)) for one in release.get("services", ())]
    return {(name, role): scale.get(name, number) for name, role, number in services if role in RUNNING}


def deployed(
    ledger: list[dict[str, Any]], journal: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield what is measured of deploys. Pure."""
    commands = [line for line in journal if line.get("command") in DEPLOYS]
    last, serving = ledger[-1] if ledger else {}, in_service(ledger)
    if serving.get("started"):
        yield "ops_last_deploy_timestamp_seconds", {"release": serving["release"]}, moment(serving, "started")
        yield "ops_last_deploy_duration_seconds", {}, serving.get("seconds", 0)
    yield "ops_last_deploy_failed", {}, last.get("outcome") in ("failed", "interrupted")
    yield "ops_deploy_unfinished", {}, bool(commands) and commands[-1].get("state") == "begin"


def counted(ledger: Iterable[Mapping[str, Any]], now: float) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield how many deploys and rollbacks had which outcome lately. Pure."""
    recent = [line for line in ledger if line.get("command") in DEPLOYS and now - moment(line, "started") < COUNTED_FOR]
    none = Counter(dict.fromkeys([(command, "in service") for command in DEPLOYS], 0))
    outcomes = Counter((str(line["command"]), str(line.get("outcome"))) for line in recent)
    for (command, outcome), number in sorted({**none, **outcomes}.items()):
        yield "ops_deploys", {"command": command, "outcome": outcome}, number


def moment(line: Mapping[str, Any], key: str = "time") -> float:
    """Read when a line was written, in seconds since 1970; 0 where it does not say. Pure."""
    with suppress(KeyError, ValueError):
        return float(timegm(time.strptime(str(line[key])[:19], "%Y-%m-%dT%H:%M:%S")))
    return 0.0


def stopped_by_deploy(journal: list[dict[str, Any]], now: float) -> set[str]:
    """Name the services that a deploy which goes on has stopped and not started again. Pure.

    Each for a while only: a deploy that was interrupted never starts it. One that runs in the other colour is not
    among them.
    """
    stopped, started, details = dict[str, float](), dict[str, Any](), dict[str, Any]()
    for line in unfinished(journal):
        step, begins = line.get("step"), line.get("state") == "begin"
        written = line.get("details")  # a line of the end has none
        details = (written if isinstance(written, dict) else {}) if begins else details
        colour, services = details.get("colour"), details.get("services") or ()
        if begins and step in (STOPS, RECREATES):
            stopped |= {name: moment(line) for name in services if started.get(name, colour) == colour}
        elif not begins and step in (STARTS, RECREATES):
            started |= dict.fromkeys(services, colour)
            stopped = {name: since for name, since in stopped.items() if name not in services}
    return {name for name, since in stopped.items() if now - since < STOPPED_FOR}


def unfinished(journal: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the journal's lines since the deploy that has begun and not ended; none where there is no such. Pure."""
    begun = [number for number, line in enumerate(journal) if line.get("command") in DEPLOYS]
    return journal[begun[-1] + 1 :] if begun and journal[begun[-1]].get("state") == "begin" else []


def is_down(journal: list[dict[str, Any]], now: float = math.inf) -> bool:
    """Tell whether `inv down` was the last that happened: nobody misses what was taken away. Pure.

    It is so from the beginning of taking down to the end of the deploy after it; of either no longer than it may last.
    """
    lines = [line for line in journal if line.get("command") in ("down", *DEPLOYS) or line.get("step") == TAKEDOWN]
    while lines and lines[-1].get("command") in DEPLOYS and lines[-1].get("state") == "begin":
        if moment(lines.pop()) < now - UNDER_WAY:
            return False
    last = lines[-1] if lines else {}
    lately = last.get("step") == TAKEDOWN and moment(last) >= now - UNDER_WAY
    return lately or (last.get("command"), last.get("state")) == ("down", "done")
