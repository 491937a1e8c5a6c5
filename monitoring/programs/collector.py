"""Say over HTTP how an environment's containers are: metrics for Prometheus, and what a message says of a service.

`/metrics` asks the engine anew each time: while this program or the engine is away nothing stale is shown. The services
that there should be are those of the release which the ledger calls in service. `/context?service=NAME` is for the
receiver.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import threading
import time
from calendar import timegm
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

LABEL, SOCKET, PORT = "bookreader-ops", "/var/run/docker.sock", 9101
RUNNING = ("web", "worker", "scheduler", "data", "wal", "edge")  # roles whose services should run all the time
TAIL = 1 << 18  # bytes of ledger and journal
DEPLOYS = ("deploy", "rollback")
TAKEDOWN = "TakeDown"  # the step that `inv down` begins with
STOPS, STARTS, RECREATES = "StopColour", "StartColour", "RecreateShared"
STOPPED_FOR = 600  # seconds for which nobody misses what an unfinished deploy has stopped
COUNTED_FOR = 30 * 86400  # seconds
UNDER_WAY = 1200  # seconds that taking down, or a first deploy after it, may last
FURTHEST = 60  # seconds of the edge's log that are read at once
ERROR = re.compile(r"(?i)error|exception|fatal|critical|panic|refused|denied|traceback")
CLASSES = ("2xx", "3xx", "4xx", "5xx")
BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, math.inf)  # seconds
SHORTEST, WIDEST, LINES = 6, 240, 5
METRICS = {
    "ops_service_expected": "how many containers of a service should run",
    "ops_service_running": "how many run",
    "ops_service_unhealthy": "how many of those fail their health check",
    "ops_service_stopped_by_deploy": "whether a deploy that goes on has stopped it, for ten minutes at most",
    "ops_environment_down": "whether inv down took everything away, and nothing was deployed since",
    "ops_maintenance": "whether this host's edge shows the maintenance page",
    "ops_container_restarts": "how often the engine has started a container again",
    "ops_container_out_of_memory": "whether a process in it was killed at its memory limit since it started",
    "ops_container_exit_code": "what a container that has ended left",
    "ops_last_deploy_timestamp_seconds": "when a release came into service last",
    "ops_last_deploy_duration_seconds": "how long it took until that one was in service",
    "ops_deploys": "deploys and rollbacks that ended within 30 days, by outcome",
    "ops_last_deploy_failed": "whether the last deploy or rollback failed",
    "ops_deploy_unfinished": "whether a deploy has begun and not ended",
    "ops_edge_requests_total": "requests that the edge has answered since the collector started, by status",
    "ops_edge_request_seconds_bucket": "requests that the app has answered within so many seconds, as the edge saw it",
}


class Engine(HTTPConnection):
    """A connection to the Docker engine's socket."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(3)
        self.sock.connect(SOCKET)


def ask(path: str) -> bytes:
    """Ask the engine; nothing for what is gone meanwhile. Raises OSError or HTTPException when it does not answer."""
    engine = Engine("engine")
    try:
        engine.request("GET", path)
        answer = engine.getresponse()
        body = answer.read()
    finally:
        engine.close()
    if answer.status not in (200, 404):
        raise OSError(f"the engine answers {answer.status}")
    return body if answer.status == 200 else b""


def containers(environment: str) -> list[dict[str, Any]]:
    """Inspect one environment's containers, one-off ones left out."""
    chosen = quote(json.dumps({"label": [f"{LABEL}={environment}"]}))
    listed = json.loads(ask(f"/containers/json?all=1&filters={chosen}"))
    ids = [one["Id"] for one in listed if one["Labels"].get("com.docker.compose.oneoff") != "True"]
    return [json.loads(answer) for answer in map(ask, (f"/containers/{one}/json" for one in ids)) if answer]


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


def own_labels(container: Mapping[str, Any]) -> dict[str, str]:
    """Name what a container is. Pure."""
    labels = container["Config"]["Labels"]
    words = {word: labels.get(f"{LABEL}.{word}", "") for word in ("service", "role", "colour", "release")}
    return {"container": container["Name"].lstrip("/"), **words}


def measured(
    inspected: Iterable[Mapping[str, Any]], desired: Mapping[tuple[str, str], int]
) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield what is measured of services and of containers: name, labels, value. Pure."""
    running, unhealthy = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for container in inspected:
        labels, state = own_labels(container), container["State"]
        if labels["role"] not in RUNNING:
            continue
        key, up = (labels["service"], labels["role"]), state["Status"] == "running"
        running[key] += up
        unhealthy[key] += up and state.get("Health", {}).get("Status") == "unhealthy"
        yield "ops_container_restarts", labels, container["RestartCount"]
        yield "ops_container_out_of_memory", labels, bool(state["OOMKilled"])
        if state["Status"] in ("exited", "dead", "restarting"):
            yield "ops_container_exit_code", labels, state["ExitCode"]
    for service, role in sorted({*desired, *running}):
        labels = {"service": service, "role": role}
        yield "ops_service_expected", labels, desired.get((service, role), 0)
        yield "ops_service_running", labels, running[service, role]
        yield "ops_service_unhealthy", labels, unhealthy[service, role]


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


def rendered(measurements: Iterable[tuple[str, dict[str, str], float]]) -> str:
    """Write measurements as Prometheus reads them, those of one name together. Pure."""
    rows: dict[str, list[str]] = {}
    for name, labels, value in measurements:
        words = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in labels.items())
        rows.setdefault(name, []).append(f"{name}{{{words}}} {float(value):.15g}")
    kinds = {name: "counter" if name.endswith(("_total", "_bucket")) else "gauge" for name in rows}
    heads = {name: f"# HELP {name} {METRICS[name]}\n# TYPE {name} {kinds[name]}\n" for name in rows}
    return "".join(heads[name] + "\n".join(lines) + "\n" for name, lines in rows.items())


def printed(stream: bytes) -> Iterator[tuple[str, str]]:
    """Split what the engine has of a log into lines: time, text. Pure.

    Each part has a header of eight bytes:
    https://docs.docker.com/reference/api/engine/#tag/Container/operation/ContainerAttach
    """
    parts, at = list[bytes](), 0
    while at + 8 <= len(stream):
        size = int.from_bytes(stream[at + 4 : at + 8], "big")
        parts.append(stream[at + 8 : at + 8 + size])
        at += 8 + size
    for line in b"".join(parts).decode(errors="replace").splitlines():
        written, _, words = line.partition(" ")
        yield written, words


class EdgeLog:
    """Counts what the edge answers, by its log; the maintenance page is no error."""

    def __init__(self) -> None:
        self.counts, self.last, self.since = Counter[str](), "", time.time()
        self.within = Counter[float]()  # requests by each bound that they kept to

    def read(self, edge: str) -> None:
        """Count what was answered since the last time, a minute at most.

        What is older, after a while in which nobody asked or the engine did not answer, is not counted: a busy edge
        would have more of it each time than can be read before the answer is due.
        """
        begun = time.time()
        since = max(self.since, begun - FURTHEST)
        lines = list(printed(ask(f"/containers/{edge}/logs?stdout=1&timestamps=1&since={since:.3f}")))
        for written, words in lines:
            status, seconds = answered(words) if written > self.last else (0, None)
            if status:
                self.counts[f"{status // 100}xx"] += 1
            if seconds is not None:
                self.within.update(bound for bound in BOUNDS if seconds <= bound)
        self.last = max([self.last, *(written for written, _ in lines)])
        self.since = begun - 2  # the engine's clock is ours; a line that was counted is recognized by its time


def answered(line: str) -> tuple[int, float | None]:
    """Read the status off a line of the edge's log, and the seconds that the app took. Pure.

    The status is 0 for other lines and pages that are no answer of the app; the time None where the app was not asked,
    and for a WebSocket, which lasts as long as it likes.
    """
    status, seconds = 0, None
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        request = json.loads(line)
        status = 0 if request.get("page") else int(request.get("status", 0))
        seconds = float(request["upstream_seconds"]) if status not in (0, 101) else None
    return status, seconds


class Collector:
    """What is asked of one environment, one question at a time."""

    def __init__(self, environment: str, state: Path) -> None:
        self.environment, self.state = environment, state
        self.lock, self.log = threading.Lock(), EdgeLog()

    def records(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Read the last lines of ledger and journal."""
        return lines_of(self.state / "ledger.jsonl"), lines_of(self.state / "journal.jsonl")

    def metrics(self) -> str:
        """Measure everything."""
        with self.lock:
            inspected, (ledger, journal) = containers(self.environment), self.records()
            release = document(self.release_folder(ledger) / "release.json")
            chosen = document(self.state / "scale.json").get("replicas", {})
            down = is_down(journal, time.time())
            desired = {} if down else expected(release, chosen)
            edges = [service for service, role in desired if role == "edge"]
            return rendered(
                [
                    *measured(inspected, desired), *deployed(ledger, journal), *counted(ledger, time.time()),
                    *self.requests(inspected, edges), *self.intended(desired, journal, down),
                ]
            )  # fmt: skip

    def intended(
        self, desired: Iterable[tuple[str, str]], journal: list[dict[str, Any]], down: bool
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield what somebody has stopped on purpose: rules keep quiet about that."""
        route = document(self.state / "edge/proven/route.json") or document(self.state / "edge/current/route.json")
        yield "ops_environment_down", {}, down
        yield "ops_maintenance", {}, route.get("maintenance") is True
        stopped = stopped_by_deploy(journal, time.time())
        for service, role in desired:
            yield "ops_service_stopped_by_deploy", {"service": service, "role": role}, service in stopped

    def requests(
        self, inspected: Iterable[Mapping[str, Any]], edges: Iterable[str]
    ) -> Iterator[tuple[str, dict[str, str], float]]:
        """Yield what edges have answered; nothing where a log cannot be read, which a rule notices."""
        try:
            for edge in (one for one in inspected if own_labels(one)["role"] == "edge" and one["State"]["Running"]):
                self.log.read(edge["Id"])
        except (OSError, HTTPException):
            return
        for service in edges:
            for name in CLASSES:
                yield "ops_edge_requests_total", {"service": service, "class": name}, self.log.counts[name]
            for bound in BOUNDS:
                labels = {"service": service, "le": "+Inf" if bound == math.inf else f"{bound:g}"}
                yield "ops_edge_request_seconds_bucket", labels, self.log.within[bound]

    def release_folder(self, ledger: list[dict[str, Any]]) -> Path:
        """Where the release in service is kept."""
        return self.state / "releases" / str(in_service(ledger).get("release", "-"))

    def context(self, service: str) -> dict[str, Any]:
        """Say of a service which release it is of, what was deployed before, and its last words."""
        ledger, _ = self.records()
        serving, folder = in_service(ledger), self.release_folder(ledger)
        last = ledger[-1] if ledger else {}
        own = [one for one in containers(self.environment) if own_labels(one)["service"] == service]
        newest = max(own, key=lambda one: str(one["State"]["StartedAt"]), default=None)
        words = ask(f"/containers/{newest['Id']}/logs?stdout=1&stderr=1&timestamps=1&tail=200") if newest else b""
        hidden = secrets_of(folder / "env")
        deploy = "{command} of {release} at {started} by {who}: {outcome}".format_map({**UNKNOWN, **last})
        return {
            "release": serving.get("release", ""),
            "last deploy": deploy if last else "",
            "lines": [masked(line, hidden)[:WIDEST] for line in last_words([text for _, text in printed(words)])],
        }


UNKNOWN = dict.fromkeys(("command", "release", "started", "who", "outcome"), "?")


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


def last_words(lines: list[str]) -> list[str]:
    """Choose the lines that say most about a failure: the last ones with an error in them, else the last. Pure."""
    return [line for line in lines if ERROR.search(line)][-LINES:] or lines[-LINES:]


# as deploy/config/secrets reads back what it wrote, and as it masks: this program is alone in its image; a test
# compares the two
PLAIN = {"\\\\": "\\", '\\"': '"', "$$": "$", "\\n": "\n", "\\r": "\r"}


def secrets_of(file: Path) -> list[str]:
    """Read the values that no message may hold, in every form in which programs print them; longest first."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    written = [line.partition("=")[2][1:-1] for line in lines]
    values = [re.sub(r"\\.|\$\$", lambda match: PLAIN.get(match[0], match[0]), one) for one in written]
    shown = {form for value in values for form in forms(value) if len(form) >= SHORTEST}
    return sorted(shown, key=len, reverse=True)


def forms(value: str) -> Iterator[str]:
    """Yield what programs print of a value: it all, each line, as a URL quotes it and as Python and JSON escape it."""
    for part in (value, *value.splitlines()):
        yield from (part, quote(part, safe=""), repr(part)[1:-1], json.dumps(part)[1:-1])


def masked(line: str, values: Iterable[str]) -> str:
    """Hide secrets in a line, and passwords in addresses. Pure."""
    for value in values:
        line = line.replace(value, "***")
    return re.sub(r"(://[^\s:/@]*:)[^\s@]+@", r"\1***@", line)


class Answer(BaseHTTPRequestHandler):
    """Answers Prometheus and the receiver."""

    collector: Collector

    def do_GET(self) -> None:  # the library chose the name
        """Answer; 500 when the engine does not."""
        url = urlsplit(self.path)
        try:
            if url.path == "/metrics":
                self.send(200, self.collector.metrics())
            elif url.path == "/context":
                self.send(200, json.dumps(self.collector.context(parse_qs(url.query).get("service", [""])[0])))
            else:
                self.send(404, "/metrics or /context\n")
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            self.send(500, f"{type(error).__name__}: {error}\n")

    def send(self, status: int, text: str) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing of each question."""


if __name__ == "__main__":
    Answer.collector = Collector(os.environ["ENVIRONMENT"], Path("/state"))
    ThreadingHTTPServer(("", PORT), Answer).serve_forever()
