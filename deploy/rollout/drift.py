"""Where shared services differ from what the compose files say now, and how they are made anew."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import yaml

from deploy import console
from deploy.edge import nginx
from deploy.model import MADE_OF
from deploy.rollout import steps
from deploy.rollout.facts import configured
from deploy.rollout.health import await_healthy, through_edge
from deploy.rollout.run import Run

POLL_SECONDS = 0.02


def drifted(run: Run) -> tuple[str, ...]:
    """Name the running data services and the edge that are made of something else than is wanted; a deploy leaves them alone."""
    wanted = yaml.safe_load(run.bundle.files["shared.yml"])["services"]
    return tuple(name for name, c in run.facts.shared.items() if name in wanted and wanted[name]["labels"][MADE_OF] != c.made_of)


def chosen(names: tuple[str, ...], run: Run) -> tuple[str, ...]:
    """Return the drifted services among those that `--include` names."""
    return tuple(name for name in drifted(run) if name in names) if names else ()


def recreate(step: steps.RecreateShared, run: Run) -> None:
    """Make services anew, and measure for how long the app did not answer."""
    console.say(f"     {', '.join(step.services)} will be stopped, made anew and started; what needs them fails for some seconds")
    colour = configured(nginx.folder(run.settings), run.host, running=True).colour
    edge = any(known.role == "edge" for known in run.facts.shared.values())
    began = last = time.monotonic()
    worst, done = 0.0, False
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(run.host.run, run.compose("", "up", "--detach", "--no-deps", "--no-build", *step.services))
        while not done and time.monotonic() - began < run.settings.rollout.healthy_within:
            over = made.done()
            if answers(run, colour):
                done = over
                worst, last = max(worst, time.monotonic() - last), time.monotonic()
            elif over and (made.exception() or not edge):
                break
            time.sleep(POLL_SECONDS)
        made.result()
    await_healthy(steps.AwaitHealthy("", step.services), run)
    measured = f"measured: the app did not answer for {worst:.1f} s" if edge else "not measured: there is no edge here"
    console.say(f"     {measured}; all healthy after {time.monotonic() - began:.1f} s")


def answers(run: Run, colour: str | None) -> bool:
    """Ask the serving colour's health through the edge; before a first release, the edge alone."""
    if not colour:
        return run.host.get(run.settings.edge.probe_port, "/generation", timeout=1)[0] == 200
    return all(status == 200 for status in through_edge(run.settings, run.host, colour, run.release, timeout=1).values())
