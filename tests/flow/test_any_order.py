"""Deploys, rollbacks, kills, failures and broken connections in any order, on both shapes and with roles that move.

The seeds are fixed; NIGHTS=1 tries many more of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import OpsError, Refused
from deploy.rollout import commands
from deploy.rollout.interrupted_releases import interruptions
from deploy.site.facts import observe_all
from deploy.state.store import State
from tests.flow import test_behind as behind
from tests.support.apart import FOLDER, Site
from tests.support.faults import clear_faults, cut, fail_at, nth
from tests.support.place import Killed
from tests.support.roles import Roles

pytestmark = pytest.mark.usefixtures("no_waiting")
SEEDS = range(40 if os.environ.get("NIGHTS") else 6)
STEPS = (
    "StartColour",
    "AwaitHealthy",
    "AwaitServed",
    "Quiet",
    "Switch",
    "AwaitEdgeSwitch",
    "Drain",
    "StopColour",
    "Prune",
)
COMMANDS = ("deploy", "deploy", "rollback", "kill", "kill", "fail", "fail", "cut")


def harm(site: Any, act: str, dice: random.Random) -> str:
    """Prepare what will go wrong; say it."""
    victim, step, end = site.hosts[dice.choice([*site.hosts])], dice.choice(STEPS), dice.choice(["begin", "done"])

    def dies() -> None:
        for host in site.hosts.values():
            host.dead.set()
        raise Killed

    if act == "kill":
        nth(victim, step, end, 1, dies)
    elif act == "cut":
        nth(victim, step, end, 1, lambda: cut(victim))
    elif act == "fail":
        fail_at(victim, step)
    return f"{act} at {step} {end} on {victim.name}"


def tried(act: Callable[[], object]) -> int:
    """Return a command's exit code; 9 when it was killed."""
    try:
        act()
    except Killed:
        return 9
    except OpsError as error:
        return error.code
    return 0


def heal(site: Any) -> None:
    for host in site.hosts.values():
        vars(host).pop("append", None)
        host.dead.clear()
        host.fault = host.broken = host.killed_at = None
        host.mute = False
    clear_faults(*site.hosts.values())


def recovered(site: Any, dice: random.Random, again: Callable[[], object]) -> str:
    """Do one of the next commands; what abort refuses, since it served everywhere, resume brings to its end."""
    chosen = dice.choice(["resume", "abort", "deploy"])
    try:
        again() if chosen == "deploy" else getattr(commands, chosen)(site.at)
    except Refused as error:
        if "has no entry for it" not in error.what:
            raise
        commands.resume(site.at)
    assert [State(host, FOLDER).intention() for host in site.hosts.values()] == [None] * len(site.hosts)
    return chosen


def played(site: Any, dice: random.Random, *, warm: bool = False) -> None:
    """Do six commands; whatever happens, all hosts serve one release in the end, and exit 1 means the one before."""
    before, trail = site.serving, list[object]()
    for _ in range(6):
        act, name = dice.choice(COMMANDS), f"r{dice.randint(2, 5)}"
        command = dice.choice(["deploy", "rollback"]) if act in ("kill", "fail", "cut") else act
        trail.append((command, name, harm(site, act, dice)))
        code = tried(partial(site.deploy, name) if command == "deploy" else partial(commands.rollback, site.at))
        heal(site)
        if code in (5, 9):
            trail.append((code, recovered(site, dice, partial(site.deploy, name))))
        now = site.serving
        assert code not in (1, 2) or now == before, (trail, before, now)
        assert not interruptions(site.at, site.at.hosts), trail
        one = {now} if isinstance(now, str) else set(now)
        assert len(one) == 1, (trail, now)
        assert warm or site.running() == one, (trail, site.running(), now)
        before = now


@pytest.mark.parametrize("seed", SEEDS)
def test_behind_one_edge(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    warm = dice.random() < 0.3
    played(behind.Site(tmp_path, keep_warm=warm), dice, warm=warm)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_edge_on_each_host(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    failing = "hold" if dice.random() < 0.3 else "unwind"
    played(Site(tmp_path, canary=dice.randint(0, 2), batch=dice.randint(0, 2), on_failure=failing), dice)


def placed(dice: random.Random) -> dict[str, str]:
    """Choose hosts for the role worker."""
    on = dice.sample(["main", "w", "z"], dice.randint(1, 3))
    more = {name: " worker" if name in on else "" for name in ("main", "z")}
    return {
        "main": "edge app data" + more["main"],
        "w": "worker" if "w" in on else "monitoring",
        "z": "edge app" + more["z"],
    }


def deaf(site: Roles) -> list[str]:
    """Name the workers that run and were told last to take no tasks."""
    workers = [
        (host, c.name)
        for host in site.hosts.values()
        for c in host.engine.observed.values()
        if c.service == "worker" and c.alive
    ]
    ends = (" quiet", " resume")
    notified = {
        name: [s for s in host.executed if name in s and (s.endswith(ends) or "docker st" in s)]
        for host, name in workers
    }
    return [name for name, words in notified.items() if words and words[-1].endswith(" quiet")]


@pytest.mark.parametrize("seed", SEEDS)
def test_roles_that_move(tmp_path: Path, seed: int) -> None:
    dice, site = random.Random(seed), Roles(tmp_path)
    site.deploy("r0", placed(dice))
    trail = list[object]()
    for number in range(1, 6):
        act, servers = dice.choice(["ok", "fail", "fail", "kill", "kill", "rollback"]), placed(dice)
        before = {name: facts.edge.release for name, facts in observe_all(site.at).items()}
        trail.append((servers, harm(site, act, dice)))
        deploying = partial(site.deploy, f"r{number}", servers)
        code = tried(deploying if act != "rollback" else partial(commands.rollback, site.at))
        heal(site)
        if code in (5, 9):
            trail.append((code, recovered(site, dice, deploying)))
        now = {name: facts.edge.release for name, facts in observe_all(site.at).items()}
        assert code not in (1, 2) or now == before, (trail, before, now)
        assert len(set(now.values())) == 1, (trail, now)
        assert len(site.where("beat")) == 1, (trail, site.where("beat"))
        assert site.where("worker"), trail
        assert not deaf(site), trail
        assert site.where("redis") == {"main"}, trail
