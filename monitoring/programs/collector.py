"""Say over HTTP how an environment's containers are: metrics for Prometheus, and what a message says of a service.

`/metrics` asks the engine anew each time: while this program or the engine is away nothing stale is shown. The services
that there should be are those of the release which the ledger calls in service. `/context?service=NAME` is for the
receiver, `/logs` for Alloy.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from monitoring.programs import dora
from monitoring.programs.edge_log import BOUNDS, CLASSES, EdgeLog
from monitoring.programs.engine import ask, containers, log_files, own_labels, printed
from monitoring.programs.exposition import rendered
from monitoring.programs.records import (
    RUNNING,
    counted,
    deployed,
    document,
    expected,
    in_service,
    is_down,
    lines_of,
    stopped_by_deploy,
)  # fmt: skip
from monitoring.programs.words import last_words, masked, secrets_of

PORT, WIDEST = 9101, 240
UNKNOWN = dict.fromkeys(("command", "release", "started", "who", "outcome"), "?")
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
    "ops_dora_deploys_per_week": "deployment frequency: deploys that came into service, of 30 days",
    "ops_dora_lead_time_seconds": "median from the newest commit of a deploy until that was in service, of 30 days",
    "ops_dora_change_failure_rate": "share of deploys that visitors got and that were taken back, of 30 days",
    "ops_dora_time_to_restore_seconds": "median from such a deploy until another release was back, of 30 days",
    "ops_last_deploy_failed": "whether the last deploy or rollback failed",
    "ops_deploy_unfinished": "whether a deploy has begun and not ended",
    "ops_edge_requests_total": "requests that the edge has answered since the collector started, by status",
    "ops_edge_request_seconds_bucket": "requests that the app has answered within so many seconds, as the edge saw it",
}


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
                    *dora.keys(ledger, journal, time.time()),
                    *self.requests(inspected, edges), *self.intended(desired, journal, down),
                ],
                METRICS,
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
            elif url.path == "/logs":
                self.send(200, json.dumps(log_files(containers(self.collector.environment))), "application/json")
            else:
                self.send(404, "/metrics, /context or /logs\n")
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            self.send(500, f"{type(error).__name__}: {error}\n")

    def send(self, status: int, text: str, kind: str = "text/plain; version=0.0.4; charset=utf-8") -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing of each question."""


if __name__ == "__main__":
    Answer.collector = Collector(os.environ["ENVIRONMENT"], Path("/state"))
    ThreadingHTTPServer(("", PORT), Answer).serve_forever()
