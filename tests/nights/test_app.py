"""Apps that do not behave: deaf to SIGTERM, or with a request that never ends."""

from __future__ import annotations

import http.client
import json
import threading
import time
from datetime import datetime

from tests import load
from tests.nights.night import APP, COMPOSE, READERS, Night, lost_nothing

GRACE = 3
STUCK = """\
        if self.path == "/forever":
            threading.Event().wait()
        if self.path == "/slow":
            time.sleep(6)
"""


def test_a_container_that_ignores_sigterm(dusk: Night) -> None:
    """The old release is deaf to SIGTERM; its grace period is 3 s."""
    night = dusk
    night.site.replace(APP, "lambda *_: threading.Thread(target=server.shutdown).start()", "signal.SIG_IGN")
    night.site.replace(
        COMPOSE, "    read_only: true\n    user", f"    read_only: true\n    stop_grace_period: {GRACE}s\n    user"
    )
    night.site.commit("deaf")
    night.falls()
    night.change()
    with load.during(night.site.url, READERS) as clients:
        night.site.inv("deploy")
        lost_nothing(clients, night)
    took = seconds(night, "StopColour")
    assert GRACE - 1 <= took <= GRACE + 4, took
    old = next(name for name in night.site.containers() if "-blue-" in name)
    assert night.site.docker("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", old).split() == [
        "exited",
        "137",
    ]
    night.tell(f"the old container was killed after {took:.0f} s")
    assert "nothing to do" in night.morning()


def seconds(night: Night, step: str) -> float:
    """How long a step took, by the journal, which counts whole seconds."""
    lines = [json.loads(line) for line in (night.site.state / "journal.jsonl").read_text().splitlines()]
    begun, done = (
        datetime.fromisoformat(line["time"]) for line in [line for line in lines if line.get("step") == step][-2:]
    )
    return (done - begun).total_seconds()


class Asked:
    """One request in the background, and what came of it."""

    def __init__(self, port: int, path: str) -> None:
        self.status, self.after, self.port, self.path = -1, 0.0, port, path
        self.thread = threading.Thread(target=self.ask, daemon=True)
        self.thread.start()

    def ask(self) -> None:
        connection, began = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90), time.monotonic()
        try:
            connection.request("GET", self.path)
            answer = connection.getresponse()
            answer.read()
            self.status = answer.status
        except (OSError, http.client.HTTPException):
            self.status = 0
        self.after = time.monotonic() - began
        connection.close()


def test_an_app_that_never_finishes_a_request(dusk: Night) -> None:
    """One request of the old release never ends, another takes 6 s; `drain_within` is 3 s and the watch 4 s."""
    night = dusk
    night.site.replace(APP, "        self.answer(status,", f"{STUCK}        self.answer(status,")
    night.site.commit("stuck")
    night.site.extra |= {"OPS_ROLLOUT__DRAIN_WITHIN": "3", "OPS_ROLLOUT__WATCH": "4"}
    night.falls()
    night.change()
    with load.during(night.site.url, READERS) as clients:
        with night.held("Switch:begin", "deploy") as operator:
            forever, slow = Asked(night.site.port, "/forever"), Asked(night.site.port, "/slow")
            time.sleep(0.5)
        output = operator.end(0).stderr
        lost_nothing(clients, night)
    for asked in (forever, slow):
        asked.thread.join(30)
        night.tell(f"{asked.path}: {asked.status or 'cut off'} after {asked.after:.1f} s")
    assert "requests of blue were still running after 3 s" in output, output
    assert forever.status in (0, 502)
    assert slow.status == 200, "a request that ends within watch and drain is not cut off"
    assert "nothing to do" in night.morning()
