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

READERS = load.Scenario(kinds=("get", "new"), paths=("/", "/version"), rate=150, new_rate=20)


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
    assert wait_until(lambda: tiny.get("/version")[0] == 200, 15), tiny.containers()
    assert docker("inspect", "--format", "{{.RestartCount}}", edge).strip() == "1"


@pytest.mark.parametrize("strategy", ["blue_green", "rolling"])
def test_killed_at_every_step_and_nothing_is_lost(
    tiny: Site, strategy: str, record_property: Callable[..., None]
) -> None:
    """Each step of a second deploy once, at its first line or its last; resume and abort in turn. The nights have them all.

    Of a rolling one the steps between its two switches, where both releases serve.
    """
    tiny.extra["OPS_ROLLOUT__WATCH"] = "1"
    if strategy == "rolling":
        roll(tiny)
    tiny.inv("deploy")
    change(tiny)
    steps = [step["step"] for step in tiny.inv("plan", "--json").document["hosts"][0]["steps"]]
    assert {"StartColour", "AwaitServed", "Switch", "Watch", "Drain", "StopColour"} <= set(steps)
    kinds = (("begin", "resume"), ("done", "abort"), ("done", "resume"), ("begin", "abort"))
    nights = [(number, *kind) for number in range(len(steps)) for kind in kinds]
    first, last = steps.index("Switch"), len(steps) - 1 - steps[::-1].index("Switch")
    some = [(n, *kinds[n % 4]) for n in (range(first, last + 1) if first < last else range(len(steps)))]
    with load.during(tiny.url, READERS) as clients:
        for number, state, then in nights if os.environ.get("NIGHTS") else some:
            before = released(tiny)
            assert tiny.killed(number, state, "deploy") == steps[number]
            assert released(tiny), "something serves before any command is typed"
            said = tiny.inv(then, "--json").document
            assert (said["release"] == before) == (then == "abort")
            outcome = tiny.inv("history", "--json").document[0]["outcome"]
            assert (released(tiny), outcome) == (said["release"], "aborted" if then == "abort" else "in service")
            assert "nothing to" in tiny.inv("resume").stderr
            change(tiny)
        report = clients.report()
    record_property("report", report.table())
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.table()}"
