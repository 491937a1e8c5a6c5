"""The engine under the site: restarted, killed, and the whole machine without power; its disk full."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.nights.hosts import CHECKOUT, PYTHON, FarSite, Machine, far_night
from tests.nights.night import PATIENCE, READERS, Night, lost_nothing

WATCH = "3"  # of every deploy of a site: it is part of a release, by the edge's own limit


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Night]:
    """A tiny site in service on a machine of its own."""
    with far_night(tmp_path) as night:
        night.site.extra["OPS_ROLLOUT__WATCH"] = WATCH
        night.falls()
        yield night


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Night]:
    """The same, where engine and state share a small disk."""
    with far_night(tmp_path, "--tmpfs=/data:exec,size=1500m") as night:
        night.site.extra |= {"OPS_ROLLOUT__WATCH": WATCH, "OPS_ROLLOUT__FREE_DISK_GB": "0"}
        night.falls()
        yield night


def machine(night: Night) -> Machine:
    """The machine of a night."""
    assert isinstance(night.site, FarSite)
    return night.site.machine


def reached(night: Night, moment: str) -> None:
    """Begin a deploy there and hold it at a moment."""
    line = "touch /data/reached; until [ -e /data/go ]; do sleep 0.05; done"
    machine(night).run("rm", "-f", "/data/reached", "/data/go")
    night.first = night.serves()
    operator = night.start("deploy", at=(moment, line))
    there = ("test", "-e", "/data/reached")
    assert wait_until(lambda: machine(night).run(*there, code=None).code == 0, PATIENCE), operator.err.read_text()


@pytest.mark.parametrize("number", ["TERM", "KILL"])
def test_docker_is_restarted_during_the_watch(far: Night, number: str) -> None:
    """`systemctl restart docker` while a new release is watched, or dockerd dies and its unit starts it again.

    Containers and connections go on; new ones are refused for a moment while the engine writes its packet rules anew.
    """
    night = far
    night.change()
    reached(night, "Watch:begin")
    with load.during(night.site.url, replace(READERS, kinds=("get",))) as clients:
        machine(night).restart_engine(number)
        lost_nothing(clients, night)
    night.serves_within(5)
    machine(night).run("touch", "/data/go")
    output = night.operators[-1].end(None)
    night.tell(f"exit {output.code}")
    if output.code:
        night.says(output.stderr, where="", then="", serves="release")
    night.morning()


POINTS = [
    "StartColour:begin",
    "AwaitServed:done",
    "deploy.edge.switch.point:done",
    "deploy.edge.switch.prove:begin",
    "Watch:begin",
    "Drain:done",
    "StopColour:done",
]


def test_engine_and_containers_killed(far: Night) -> None:
    """Dockerd, containerd and all containers killed with -9 at several points of a deploy.

    The operator lives to see it.
    """
    night = far
    for number, moment in enumerate(POINTS):
        night.change()
        reached(night, moment)
        machine(night).kill_engine()
        machine(night).run("touch", "/data/go")
        output = night.operators[-1].end(None)
        assert output.code in (0, 5), output.stderr  # with the engine away nobody knows what serves
        machine(night).engine()
        night.tell(f"{moment}: exit {output.code}")
        night.serves_within(30)
        night.morning("deploy" if number % 2 or output.code else "resume")


def test_power_is_lost(far: Night) -> None:
    """The machine loses its power at several points of a deploy.

    Operator, engine and containers end at once, /run is empty.
    """
    night = far
    for number, moment in enumerate(POINTS):
        night.change()
        reached(night, moment)
        machine(night).lose_power()
        night.operators[-1].kill()
        machine(night).engine()
        night.tell(f"{moment}:")
        night.serves_within(30)
        night.morning("resume" if number % 2 else "deploy")


FULL = f"cd {CHECKOUT} && {PYTHON} -m tests.nights.disks"


@pytest.mark.parametrize(
    "moment", ["StartColour:begin", "AwaitServed:done", "Switch:begin", "Switch:done", "Watch:done"]
)
def test_the_whole_disk_is_full(small_disk: Night, moment: str) -> None:
    """Engine and state share a disk, and it is full from one moment of a deploy on."""
    night = small_disk
    output = night.struck(moment, fill(night), "deploy", code=1)
    night.says(output, "o space left on device", where="", then="inv d")
    assert night.serves() == night.first
    empty(night)
    night.morning()


def test_the_disk_is_full_once_all_is_done(small_disk: Night) -> None:
    """The disk is full when the release that serves is to be written down."""
    night = small_disk
    output = night.struck("StopColour:done", fill(night), "deploy", code=0)
    assert f"release {night.serves()} serves, but that could not be written down: No space left on device" in output
    assert night.serves() != night.first
    empty(night)
    night.morning("resume")


def test_the_disk_is_full_during_a_build(small_disk: Night) -> None:
    """The disk is full when the build begins.

    The engine may die of that, and its unit starts it again once there is room.
    """
    night = small_disk
    output = night.struck("deploy.images.build.run_bake:begin", fill(night), "deploy", code=1)
    night.says(output, "the build failed", where="localhost", then="inv build", serves="")
    assert night.serves() == night.first
    empty(night)
    machine(night).engine()
    night.serves_within(30)
    night.morning()


def fill(night: Night) -> str:
    """Prepare another release, and return the line that takes the last byte."""
    assert isinstance(night.site, FarSite)
    night.change()
    return f"{FULL} {night.site.far_state}"


def empty(night: Night) -> None:
    """Make room again."""
    assert isinstance(night.site, FarSite)
    machine(night).run("rm", "-f", f"{night.site.far_state}/filler")
