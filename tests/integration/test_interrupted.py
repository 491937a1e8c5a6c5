"""Promise 2: killed with -9 at any step, something serves, and resume or abort converges. Promise 1 holds meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.support.site import Site, docker

READERS = load.Scenario(kinds=("get", "new"), paths=("/", "/version"), rate=80, new_rate=20)


def roll(site: Site) -> None:
    """Let a tiny site roll, with two replicas."""
    site.extra["OPS_ROLLOUT__STRATEGY"] = "rolling"
    site.replace("docker/compose.yml", "    read_only: true", "    scale: 2\n    read_only: true")
    site.commit()


def change(site: Site) -> None:
    """Make the next release another one."""
    with (site.root / "app/app.py").open("a") as file:
        file.write("# changed\n")
    site.commit()


def released(site: Site) -> str:
    """Ask the site itself which release answers."""
    return str(json.loads(site.get("/version")[1])["release"])


def test_the_edge_comes_back_by_itself_after_a_crash(tiny: Site) -> None:
    """Also once it was told to reload, which a `docker kill` would have had it pay for."""
    tiny.inv("deploy")
    edge = next(name for name in tiny.containers() if "-edge-" in name)
    os.kill(int(docker("inspect", "--format", "{{.State.Pid}}", edge)), signal.SIGKILL)
    assert wait_until(lambda: tiny.get("/version")[0] == 200, 60), tiny.containers()
    assert docker("inspect", "--format", "{{.RestartCount}}", edge).strip() == "1"


KINDS = (("begin", "resume"), ("done", "abort"), ("done", "resume"), ("begin", "abort"))
# step, line of the journal, what is typed: at both ends of the switch, where most can go wrong; nights have all steps
CHOSEN = {
    "blue_green": [("Switch", "begin", "resume"), ("Switch", "done", "abort")],
    "rolling": [("Switch", "done", "abort"), ("Drain", "begin", "resume")],  # both releases serve
}


def kills(strategy: str, steps: list[str]) -> list[tuple[int, str, str]]:
    """Return which step is killed at which of its lines, and what is typed then."""
    if os.environ.get("NIGHTS"):
        return [(number, *kind) for number in range(len(steps)) for kind in KINDS]
    return [(steps.index(step), state, then) for step, state, then in CHOSEN[strategy]]


@pytest.mark.parametrize("strategy", ["blue_green", pytest.param("rolling", marks=pytest.mark.night)])
def test_killed_at_every_step_and_nothing_is_lost(
    tiny: Site, strategy: str, record_property: Callable[..., None]
) -> None:
    """A second deploy is killed at some of its steps, and resumed or aborted.

    The flow tests and the nights have all of them.
    """
    tiny.extra["OPS_ROLLOUT__WATCH"] = "1"
    if strategy == "rolling":
        roll(tiny)
    tiny.inv("deploy")
    change(tiny)
    steps = [step["step"] for step in tiny.inv("plan", "--json").document["hosts"][0]["steps"]]
    assert {"StartColour", "AwaitServed", "Switch", "Watch", "Drain", "StopColour"} <= set(steps)
    with load.during(tiny.url, READERS) as clients:
        for number, state, then in kills(strategy, steps):
            before = released(tiny)
            assert tiny.killed(number, state, "deploy") == steps[number]
            assert released(tiny), "something serves before any command is typed"
            shown = tiny.inv(then, "--json").document
            assert (shown["release"] == before) == (then == "abort")
            outcome = tiny.inv("history", "--json").document[0]["outcome"]
            assert (released(tiny), outcome) == (shown["release"], "aborted" if then == "abort" else "in service")
            assert "nothing to" in tiny.inv("resume").stderr
            change(tiny)
        report = clients.report()
    record_property("report", report.table())
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.table()}"
