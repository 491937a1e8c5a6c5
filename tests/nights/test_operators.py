"""People and their machines: two at once, one that is killed, and what its death leaves."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.nights.night import APP, COMPOSE, READERS, Night, lost_nothing
from tests.support.site import docker

MIGRATION = "import time; time.sleep(20)"


def test_two_deploys_at_once(night: Night) -> None:
    """A second operator deploys while the first is in the middle of it."""
    night.change()
    with load.during(night.site.url, READERS) as clients:
        with night.held("StartColour:begin", "deploy") as first:
            output = night.fails("deploy", code=4)
            night.says(
                output, "locked by", f"process {first.process.pid}", ": deploy since", where="lock", then="inv unlock"
            )
            assert night.serves() == night.first
            for words in (("rollback",), ("resume",), ("abort",), ("down",), ("maintenance", "--on")):
                assert f"process {first.process.pid}" in night.site.inv(*words, code=4).stderr
        first.end(0)
        lost_nothing(clients, night)
    assert night.serves() != night.first
    night.tell("the first was not disturbed")
    assert "nothing to do" in night.morning()


def test_two_deploys_in_the_same_second(night: Night) -> None:
    """Two operators press return together."""
    night.change()
    both = [night.start("deploy"), night.start("deploy")]
    done = [operator.end(None) for operator in both]
    assert sorted(line.code for line in done) == [0, 4], [line.stderr for line in done]
    night.tell("one exit 0, the other 4")
    assert night.serves() != night.first
    assert "nothing to do" in night.morning()


@pytest.mark.parametrize("then", ["resume", "deploy"])
def test_an_orphaned_migration(dusk: Night, then: str) -> None:
    """The operator's machine dies in the middle of a migration, which lives on."""
    night = dusk
    night.falls()
    night.site.replace(COMPOSE, "{role: web,", f'{{role: web, migrate: ["python3.11", "-c", "{MIGRATION}"],')
    night.site.commit()
    with noted(night) as times:
        operator = night.start("deploy")
        assert wait_until(lambda: one_offs(night) == ["running"], 60)
        operator.kill()
        assert one_offs(night) == ["running"], "half a migration is worse than a late one"
        assert night.serves() == night.first
        output = night.morning(then)
    assert "wait for what an interrupted run left" in output
    starts, ends = times["start"], times["die"]
    assert len(starts) == len(ends) == 2, (starts, ends)
    assert ends[0] <= starts[1], "a second migration ran beside the first"
    night.tell(f"the second migration began {(starts[1] - ends[0]) / 1e9:.1f} s after the first had ended")


def one_offs(night: Night) -> list[str]:
    """The states of this site's one-off containers."""
    chosen = ["--filter=label=com.docker.compose.oneoff=True", f"--filter=label=bookreader-ops.app={night.site.app}"]
    return docker("ps", "--all", *chosen, "--format={{.State}}").split()


@contextmanager
def noted(night: Night) -> Iterator[dict[str, list[int]]]:
    """Note when this site's one-off containers begin and end, in nanoseconds.

    The engine keeps few events, so it is asked at once.
    """
    chosen = ["--filter=label=com.docker.compose.oneoff=True", f"--filter=label=bookreader-ops.app={night.site.app}"]
    times: dict[str, list[int]] = {"start": [], "die": []}
    watch = [
        "docker",
        "events",
        *chosen,
        "--filter=event=start",
        "--filter=event=die",
        "--format={{.Action}} {{.TimeNano}}",
    ]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as events:
        try:
            yield times
        finally:
            events.terminate()
            for line in events.stdout or ():
                times[line.split()[0]].append(int(line.split()[1]))


@pytest.mark.parametrize(
    ("moment", "then"),
    [
        ("test:done", "deploy"),
        ("point:done", "resume"),
        ("point:done", "abort"),
        ("prove:begin", "deploy"),
        ("prove:done", "abort"),
    ],
)
def test_an_edge_configuration_that_was_never_proven(night: Night, moment: str, then: str) -> None:
    """The operator is killed within a switch.

    Tested, link moved, told to reload, answering but not written down as proven.
    """
    night.change()
    with load.during(night.site.url, READERS) as clients:
        night.struck(f"deploy.edge.switch.{moment}", "kill -9 $PPID", "deploy", code=-9)
        assert night.serves(), "something serves before any command is typed"
        if then == "abort":
            assert night.site.inv("abort", "--json").document["release"] == night.serves() == night.first
        night.morning("deploy" if then == "abort" else then)
        lost_nothing(clients, night)


@pytest.mark.parametrize("moment", ["deploy.edge.switch.point:done", "deploy.edge.switch.prove:begin"])
def test_the_edge_restarts_on_a_configuration_that_was_never_proven(night: Night, moment: str) -> None:
    """The operator is killed within a switch, and then the edge crashes too."""
    night.change()
    night.struck(moment, "kill -9 $PPID", "deploy", code=-9)
    crash(night)
    night.serves_within(20)
    night.morning("resume")


def crash(night: Night) -> None:
    """Kill the edge's first process, as the kernel does for want of memory."""
    edge = next(name for name in night.site.containers() if "-edge-" in name)
    before = docker("inspect", "--format={{.State.StartedAt}}", edge)
    pid = docker("inspect", "--format={{.State.Pid}}", edge).strip()
    assert pid != "0", "the edge does not run"
    outside = [
        "--rm",
        "--privileged",
        "--user=0",
        "--pid=host",
        "--network=none",
        "--entrypoint=/usr/local/bin/busybox",
    ]
    docker("run", *outside, f"{night.site.app}/edge", "kill", "-9", pid)
    assert wait_until(lambda: docker("inspect", "--format={{.State.StartedAt}}", edge) != before, 20), (
        "the engine did not start it again"
    )


def test_the_first_deploy_killed_at_every_step(dusk: Night) -> None:
    """The operator is killed at each line of the very first deploy, when there is nothing to go back to."""
    night = dusk
    steps = [step["step"] for step in night.site.inv("plan", "--json").document["hosts"][0]["steps"]]
    for number in range(len(steps)):
        assert night.site.killed(number, ("begin", "done")[number % 2], "deploy") == steps[number]
        then = ("resume", "abort")[number % 2]
        output = night.site.inv(then)
        if then == "abort":
            assert night.serves() == ""
            assert "no release is in service" in output.stderr
        else:
            assert night.serves()
            night.first = night.serves()
        night.site.inv("down", "--volumes", "--yes")
    night.tell(f"{len(steps)} steps, resumed or aborted in turn")
    night.falls()
    night.morning()


def test_an_operator_who_loses_the_connection(night: Night) -> None:
    """SIGHUP in the middle of a deploy, as when ssh breaks off."""
    night.change()
    night.struck("AwaitServed:begin", "kill -HUP $PPID", "deploy", code=-signal.SIGHUP)
    assert night.serves() == night.first
    night.morning("resume")


@pytest.mark.parametrize("line", ["kill -s INT -- -$PPID", "kill -TERM $PPID"], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_in_the_middle(night: Night, line: str) -> None:
    """While the new colour is probed, Ctrl-C at a terminal, which the process group gets, or SIGTERM from a job that is cancelled."""
    night.change()
    output = night.struck("AwaitServed:begin", line, "deploy", code=5)
    night.says(output, "interrupted", where="", then="inv resume goes on, inv abort goes back")
    night.morning("resume")


def test_somebody_waits_for_the_lock_of_one_that_dies(night: Night) -> None:
    """The holder is killed with -9; whoever comes next gets the lock without `inv unlock`."""
    night.change()
    with night.held("StartColour:done", "deploy") as first:
        first.kill()
    assert night.serves() == night.first
    night.morning("deploy")


def test_two_checkouts_build_the_same_names_at_once(night: Night) -> None:
    """Another checkout builds images of the same names while a deploy has built its own and not yet started them."""
    other = night.site.folder / "other"
    shutil.copytree(night.site.root, other)
    night.change("# mine\n")
    with night.held("deploy.images.build.run_bake:done", "deploy") as operator:
        (other / APP).write_text((other / APP).read_text().replace('"release":', '"whose": "other", "release":'))
        night.site.inv("build", OPS_ROOT=str(other))
    night.says(
        operator.end(1).stderr, "another build has taken its name", where="localhost", then="inv deploy builds it again"
    )
    assert night.serves() == night.first
    night.morning()
    assert json.loads(night.site.get("/version")[1]).keys() == {"release"}, "the other checkout's code serves"


@pytest.mark.parametrize(
    ("moment", "words", "back"),
    [
        ("StartColour:begin", ("scale", "app=2"), ("scale", "app=1")),
        ("TurnPage:begin", ("maintenance", "--on"), ("maintenance", "--off")),
        ("TakeDown:begin", ("down",), ("deploy",)),
    ],
    ids=["scale", "maintenance", "down"],
)
def test_the_history_has_what_was_cut_off(
    night: Night, moment: str, words: tuple[str, ...], back: tuple[str, ...]
) -> None:
    """Who scales, puts up the maintenance page or takes everything down is killed with -9, and types it again."""

    def newest() -> tuple[str, str]:
        line = night.site.inv("history", "--json").document[0]
        return line["command"], line["outcome"]

    night.struck(moment, "kill -9 $PPID", *words, code=-9)
    assert wait_until(lambda: newest() == (" ".join(words), "interrupted"), 20), newest()
    night.site.inv(*words)
    assert newest() == (" ".join(words), "done")
    night.tell(f"inv history: {' '.join(words)} interrupted, then done")
    night.site.inv(*back)
    night.morning()
