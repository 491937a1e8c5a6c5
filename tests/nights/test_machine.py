"""What the machine runs out of: memory, and disk where the state is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.hosts.local import LocalHost
from tests import load
from tests.integration.bad_input.bad import look
from tests.nights.disks import FULL, small
from tests.nights.night import APP, COMPOSE, READERS, Night, Operator, lost_nothing

GIGABYTE = 1_000_000_000


def hold(night: Night, gigabytes: float) -> None:
    """Let the app hold memory from its start."""
    night.site.replace(
        APP, "def main() -> None:", f"BALLAST = b'x' * {int(gigabytes * GIGABYTE)}\n\n\ndef main() -> None:"
    )
    night.site.commit("ballast")


def test_memory_for_only_one_colour(dusk: Night) -> None:
    """The app holds 1 GB, and half of that is left beside it."""
    night = dusk
    hold(night, 1.0)
    night.falls()
    night.change()
    before = look(night.site)
    must_remain = LocalHost().free_memory() / GIGABYTE - 0.5
    output = night.fails("deploy", code=2, OPS_ROLLOUT__FREE_MEMORY_GB=f"{must_remain:.2f}")
    night.says(
        output,
        "a second colour takes 1.0 GB",
        "GB of memory is available",
        "rollout.free_memory_gb",
        where="localhost",
        then="inv deploy",
    )
    assert look(night.site) == before, "nothing was changed"
    assert "second colour" in night.site.inv("plan", code=2, OPS_ROLLOUT__FREE_MEMORY_GB=f"{must_remain:.2f}").stderr
    night.morning()


def test_a_new_colour_that_is_killed_for_memory(night: Night) -> None:
    """The new release wants more memory than its limit allows; the kernel kills it again and again."""
    night.site.replace(COMPOSE, "    read_only: true\n    user", "    read_only: true\n    mem_limit: 40m\n    user")
    hold(night, 0.5)
    with load.during(night.site.url, READERS) as clients:
        output = night.fails("deploy", code=1)
        lost_nothing(clients, night)
    night.says(output, "exit code 137", where="localhost", then="docker logs")
    assert night.serves() == night.first
    night.site.replace(COMPOSE, "    mem_limit: 40m\n", "")
    night.site.commit("no limit")
    night.morning()


@pytest.mark.parametrize("moment", ["StartColour:begin", "StartColour:done", "AwaitServed:done"])
def test_the_journals_disk_is_full(night: Night, tmp_path: Path, moment: str) -> None:
    """The file system of the state folder is full from one step on, before anything was switched."""
    night.change()
    command = night.site.argv(
        "tests.nights.at", moment, f"{FULL} {night.site.state}", "deploy", OPS_ROLLOUT__FREE_DISK_GB="0"
    )
    with load.during(night.site.url, READERS) as clients:
        output = Operator(night.site, tmp_path, *small(night.site, tmp_path), *command).end(1)
        lost_nothing(clients, night)
    night.tell("exit 1")
    night.says(output.stderr, "No space left on device", where="", then="inv")
    assert night.serves() == night.first
    night.morning()
