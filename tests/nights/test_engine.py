"""The engine under the site: restarted, killed, and the whole machine without power; its disk full."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.wait import until
from tests.nights.hosts import CHECKOUT, PYTHON, FarSite, Machine, far_night
from tests.nights.night import PATIENCE, Night

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
    operator = night.start("deploy", at=(moment, line))
    there = ("test", "-e", "/data/reached")
    assert until(lambda: machine(night).run(*there, code=None).code == 0, PATIENCE), operator.err.read_text()


def test_docker_is_restarted_during_the_watch(far: Night) -> None:
    """`systemctl restart docker` while a new release is watched."""
    night = far
    night.change()
    reached(night, "Watch:begin")
    machine(night).restart_engine()
    machine(night).run("touch", "/data/go")
    said = night.operators[-1].end(None)
    night.tell(f"exit {said.code}")
    night.serves_within(30)
    if said.code:
        night.says(said.stderr, where="", then="", serves="release")
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
    """Dockerd, containerd and all containers killed with -9 at several points of a deploy; the operator lives to see it."""
    night = far
    for number, moment in enumerate(POINTS):
        night.change()
        reached(night, moment)
        machine(night).kill_engine()
        machine(night).run("touch", "/data/go")
        said = night.operators[-1].end(None)
        assert said.code in (0, 1), said.stderr
        machine(night).engine()
        night.tell(f"{moment}: exit {said.code}")
        night.serves_within(30)
        night.morning("deploy" if number % 2 or said.code else "resume")


def test_power_is_lost(far: Night) -> None:
    """The machine loses its power at several points of a deploy: operator, engine and containers end at once, /run is empty."""
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


def empty(night: Night) -> None:
    """Make room again."""
    machine(night).run("sh", "-c", f"rm -f /data/filler {shlex.quote(night.site.far_state)}/filler")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "moment",
    [
        "deploy.images.build.run_bake:begin",
        "StartColour:begin",
        "AwaitServed:done",
        "Switch:begin",
        "Switch:done",
        "Watch:done",
        "StopColour:done",
    ],
)
def test_the_whole_disk_is_full(small_disk: Night, moment: str) -> None:
    """Engine and state share a disk, and it is full from one moment on: building and loading images, starting, switching, watching."""
    night = small_disk
    site = night.site
    assert isinstance(site, FarSite)
    site.write("app/more.bin", "x" * 30_000_000)
    site.replace("docker/app.Dockerfile", "COPY app.py /app.py", "COPY app.py more.bin /")
    site.replace("docker/app.Dockerfile", 'CMD ["python3.11", "-u", "/app.py"]', 'CMD ["python3.11", "-u", "/app.py"]\n')
    night.change()
    said = night.start("deploy", at=(moment, f"{FULL} {site.far_state}")).end(None)
    night.tell(f"exit {said.code}")
    assert night.serves(), said.stderr
    night.tell(f"{night.called(night.serves())} serves")
    if said.code:
        night.says(said.stderr, where="", then="", serves=f"release {night.serves()}")
    empty(night)
    night.morning()
    assert said.code == 1, said.stderr
    assert "o space left" in said.stderr, said.stderr
