"""Servers over SSH: gone, full, slow, cut off, somebody else's; and the operators who work on them."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests.integration.test_registry import Proxy
from tests.machines import Fleet, Machine, Store, fleet
from tests.nights.night import COMPOSE
from tests.nights.servers import ServersNight, all_lost_nothing, inside, on_servers, power_cut, returned
from tests.support import remote
from tests.support.site import docker

STORES: dict[str, Store] = {"app1": "containerd", "app2": "containerd", "app3": "classic"}
CUT_SSH = "iptables -t mangle -I PREROUTING -p tcp --dport 22 -j DROP"
# a line that would still fit into a file's last block must not
FILL = """
for file in "$1"/*.jsonl; do
  size=$(stat --format %s "$file"); truncate --size=-1 "$file"; printf "%$(((4096 - size % 4096) % 4096))s\\n" "" >>"$file"
done
dd if=/dev/zero of="$1/filler" bs=4096 2>/dev/null; true
"""
REFUSALS = [
    (401, "refuses the user", "REGISTRY_PASSWORD"),
    (429, "takes no more requests", "minutes"),
    (500, "has an error", "log"),
]
RESUME = f"inv resume --env={remote.ENV} goes on"
HARD = 'it\'s "$HOME" $(id) `id` \\ $$ #no %s\tüñ 本 !'


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """What starts servers."""
    with fleet(tmp_path_factory.mktemp("operator")) as made:
        yield made


@pytest.fixture
def bare(started: Fleet, tmp_path: Path) -> Iterator[ServersNight]:
    """A site on one server, that nothing was deployed to."""
    with on_servers(tmp_path, some(started, 1), started.key) as night:
        yield night


@pytest.fixture
def single(bare: ServersNight) -> ServersNight:
    """A site in service on one server."""
    bare.falls()
    return bare


@pytest.fixture
def trio(started: Fleet, tmp_path: Path) -> Iterator[ServersNight]:
    """A site in service on three servers, the third on the classic store."""
    with on_servers(tmp_path, some(started, 3), started.key) as night:
        night.falls()
        yield night


def some(started: Fleet, count: int) -> dict[str, Machine]:
    """The first servers; one is started when it is first needed."""
    return {
        name: started.machines.get(name) or started.start(name, store) for name, store in list(STORES.items())[:count]
    }


# not ready: refused, and nothing is changed


def test_a_server_that_is_down(trio: ServersNight) -> None:
    """A server has no power before the deploy begins."""
    night, gone = trio, trio.machines["app2"]
    night.change()
    docker("kill", gone.container)
    output = night.fails("deploy", code=2)
    night.says(
        output,
        "app2 did not answer at",
        where="app2",
        then="is the machine up",
        serves=f"app1, app3: release {night.first}",
    )
    night.still_serve("app1", "app3")
    returned(gone)
    night.all_answer()
    night.still_serve()
    night.morning()


def test_a_server_without_room(bare: ServersNight) -> None:
    """The disk of the state folder has no room for a release."""
    night, machine = bare, bare.machines["app1"]
    night.site.inv("build", "--push")
    with machine.small_disk(night.site.state_there, "1m"):
        night.says(
            night.fails("deploy", code=2),
            "0.0 GB free, 2.0 GB are needed",
            where="app1",
            then="fix that, then inv deploy",
            serves="nothing",
        )
        assert not night.site.on(machine)
    night.first = night.site.inv("deploy", "--json").document["release"]
    night.morning()


def test_a_disk_that_fills_up_in_the_middle(bare: ServersNight) -> None:
    """The disk of the state folder is full when the new colour starts."""
    night, machine = bare, bare.machines["app1"]
    night.site.extra["OPS_ROLLOUT__FREE_DISK_GB"] = "0"
    with machine.small_disk(night.site.state_there, "8m"):
        night.falls()
        night.change()
        full = inside(machine, FILL, night.site.state_there)
        output = night.struck("StartColour:begin", full, "deploy", code=1)
        night.says(output, "No space left", where="app1", then="fix that")
        night.still_serve()
        machine.sh('rm "$1/filler"', night.site.state_there)
        night.morning()


def test_a_clock_that_is_wrong(single: ServersNight) -> None:
    """A server's clock is ten minutes ahead (what `date` says there is faked: a container has no clock of its own)."""
    night, machine = single, single.machines["app1"]
    night.change()
    aside(machine, "date", """exec /usr/bin/date --date='10 minutes' "$@\"""")
    night.says(
        night.fails("deploy", code=2), "s ahead of this machine's", where="app1", then="fix that, then inv deploy"
    )
    night.still_serve()
    machine.sh("rm /usr/local/bin/date")
    night.morning()


def aside(machine: Machine, program: str, line: str) -> None:
    """Put a program before another of the same name."""
    machine.sh('printf "%s\\n" "$2" >"/usr/local/bin/$1"; chmod 755 "/usr/local/bin/$1"', program, f"#!/bin/sh\n{line}")


def test_an_engine_that_is_stopped(trio: ServersNight) -> None:
    """The engine of one server is stopped; its containers live on."""
    night, machine = trio, trio.machines["app2"]
    night.change()
    machine.stop_engine()
    output = night.fails("deploy", code=2)
    night.says(
        output,
        "the Docker engine does not answer",
        where="app2",
        then="systemctl start docker",
        serves=f"app1, app3: release {night.first}",
    )
    night.still_serve()
    machine.start_engine()
    night.morning()


def test_images_for_another_processor(single: ServersNight) -> None:
    """An image was built for arm64, the server is amd64."""
    night = single
    night.site.replace("app/app.py", "import json", "import json  # changed")
    night.site.commit()
    night.site.inv("build")
    own = f"{night.site.app}/app:{night.site.git('rev-parse', 'HEAD')[:12]}"
    recipe = night.site.folder / "arm"
    recipe.mkdir()
    (recipe / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    docker(
        "buildx",
        "build",
        "--quiet",
        "--load",
        "--provenance=false",
        "--platform=linux/arm64",
        f"--tag={own}",
        str(recipe),
    )
    before = images_on(night)
    output = night.fails("push", code=2)
    night.says(
        output,
        "app1 is amd64",
        f"{night.site.app}/app (arm64)",
        where="app1",
        then="platforms",
        serves="what served before",
    )
    assert images_on(night) == before
    assert "none were pushed to it" in night.fails("deploy", code=2)
    night.still_serve()
    night.site.inv("build", "--push")
    night.morning()


def images_on(night: ServersNight) -> dict[str, str]:
    """The images that each server has."""
    return {
        name: machine.sh("docker image ls --all --no-trunc --quiet | sort -u")
        for name, machine in night.machines.items()
    }


def test_a_host_key_that_has_changed(single: ServersNight) -> None:
    """A server shows another host key than the pinned one; after a person has looked, it is pinned anew."""
    night, machine = single, single.machines["app1"]
    night.change()
    pinned, entered = machine.key, logins(machine)
    machine.new_host_key()
    output = night.fails("deploy", code=2)
    night.says(output, "the host key of app1 has changed", where="app1", then="ssh-keygen -lf", serves="not known")
    assert logins(machine) == entered, "somebody logged in"
    night.still_serve()
    night.site.inv("hosts.pin", "--yes")
    assert pinned not in (night.site.root / f"deploy/environments/{remote.ENV}.toml").read_text()
    night.site.commit("pinned anew")
    night.site.inv("build", "--push")
    night.morning()


def logins(machine: Machine) -> int:
    """How often anybody was let in."""
    return machine.logs().count("Accepted publickey")


def test_sudo_that_asks_for_a_password(single: ServersNight) -> None:
    """`ssh.sudo` with an account that must type its password."""
    night = single
    night.change()
    output = night.fails("deploy", code=2, OPS_SSH__USER="asker", OPS_SSH__SUDO="true")
    night.says(output, "sudo asks asker for a password", where="app1", then="asker ALL=(ALL) NOPASSWD: ALL")
    night.still_serve()
    night.morning()


@pytest.mark.parametrize("user", ["deploy", "sudoer"])
def test_an_account_that_is_not_root(bare: ServersNight, user: str) -> None:
    """No fault: an account of the group docker, or one with sudo, does a first deploy, a second, a rollback."""
    night = bare
    night.site.extra |= {"OPS_SSH__USER": user, "OPS_SSH__SUDO": str(user == "sudoer").lower()}
    if user == "deploy":
        night.site.extra["OPS_STATE"] = f"/home/deploy/{night.site.app}-{remote.ENV}"
    night.falls()
    night.change()
    assert night.site.inv("deploy", "--json").document["release"] == night.serves() != night.first
    assert night.site.inv("rollback", "--json").document["release"] == night.serves() == night.first
    night.tell("deployed twice, and back")
    night.morning()


def test_a_key_file_that_others_can_read(single: ServersNight, started: Fleet) -> None:
    """The operator's private key has mode 0644."""
    night = single
    night.change()
    opened = night.site.folder / "key"
    shutil.copy(started.key, opened)
    opened.chmod(0o644)
    output = night.fails("deploy", code=2, OPS_SSH__KEY_FILE=str(opened))
    night.says(
        output, "others than you can read this private key", where="key", then=f"chmod 600 {opened}", serves="not known"
    )
    opened.chmod(0o600)
    night.still_serve()
    night.morning()


# something breaks in the middle


@pytest.mark.parametrize(
    ("victim", "moment", "then"),
    [("app2", "StartColour:begin", "deploy"), ("app1", "Switch:done", "resume"), ("app3", "Switch:done", "resume")],
    ids=["start", "canary", "other"],
)
def test_a_power_cut_half_way(trio: ServersNight, victim: str, moment: str, then: str) -> None:
    """One of three servers loses its power during a deploy: the others go back, and nobody can say that of this one."""
    night, others = trio, [name for name in trio.machines if name != victim]
    night.change()
    output = night.struck(moment, power_cut(night.machines[victim]), "deploy", code=5, OPS_SSH__KEEPALIVE="2")
    night.says(
        output,
        f"{victim} could not be taken back",
        where=victim,
        then=f"once {victim} can be reached, inv resume",
        serves=night.first,
    )
    night.still_serve(*others)
    returned(night.machines[victim])
    night.all_answer()
    night.morning(then)


def test_a_power_cut_of_the_only_server(single: ServersNight) -> None:
    """The only server loses its power during a switch."""
    night, machine = single, single.machines["app1"]
    night.change()
    output = night.struck("Switch:begin", power_cut(machine), "deploy", code=5, OPS_SSH__KEEPALIVE="2")
    night.says(output, "the connection to app1 broke", where="app1", then=RESUME, serves="not known")
    returned(machine)
    night.all_answer()
    night.morning("resume")


def test_ssh_that_is_cut_while_the_old_colour_drains(single: ServersNight) -> None:
    """Packets to port 22 are dropped from the drain on: the run is interrupted, nobody who visits notices."""
    night, machine = single, single.machines["app1"]
    night.change()
    with remote.under_load(night.site, night.machines) as clients:
        output = night.struck("Drain:begin", inside(machine, CUT_SSH), "deploy", code=5)
        night.says(output, "the connection to app1 broke", where="app1", then=RESUME, serves="not known")
        assert night.serves() != night.first
        machine.heal()
        night.retried("resume")
        all_lost_nothing(clients, night)
    night.tell("then `inv resume` converges")
    night.converged()


def test_a_partition_that_outlasts_the_lock(single: ServersNight, tmp_path: Path) -> None:
    """A server is cut off for longer than its lock's holder waits.

    Then another operator deploys, and the first comes back.
    """
    night, machine = single, single.machines["app1"]
    night.change()
    other = remote.elsewhere(night.site, tmp_path / "elsewhere")
    with night.held("StartColour:begin", "deploy", OPS_SSH__KEEPALIVE="60") as first:
        machine.sh(CUT_SSH)
        assert wait_until(
            lambda: machine.exec("flock", "--nonblock", f"{night.site.state_there}/lock", "true", code=None).code == 0,
            30,
        )
        machine.heal()
        night.tell("the holder over there has ended")
        other.extra["OPS_VARIABLES__NUMBER"] = "99"
        theirs = remote.inv(other, "deploy", "--json").document["release"]
        assert night.serves() == theirs
        there = night.site.on(machine)
    output = first.end(5).stderr
    night.tell("exit 5")
    night.says(output, "the lock was lost", where="app1", then="inv", serves=f"release {theirs}")
    assert (night.serves(), night.site.on(machine)) == (theirs, there), "the first operator changed something"
    night.tell("what the next operator deployed was left alone")
    night.morning()


@pytest.mark.parametrize("then", ["resume", "abort"])
def test_held_after_a_failure(trio: ServersNight, then: str) -> None:
    """`on_failure = "hold"`: the second server's disk is read-only when it is to switch."""
    night, machine = trio, trio.machines["app2"]
    night.site.extra["OPS_ROLLOUT__ON_FAILURE"] = "hold"
    night.change()
    edge = f"{night.site.state_there}/edge"
    with remote.under_load(night.site, night.machines) as clients:
        frozen = inside(machine, f"mount --bind {edge} {edge} && mount -o remount,ro,bind {edge}")
        output = night.struck("Switch:done", frozen, "deploy", code=5)
        night.says(
            output, "held after a failure", "Read-only file system", where="app2", then=RESUME, serves=night.first
        )
        found = night.served()
        assert found["app1"] != night.first == found["app2"]
        machine.sh('umount "$1"', edge)
        night.morning(then) if then == "resume" else night.site.inv("abort")
        all_lost_nothing(clients, night)
    if then == "abort":
        night.still_serve()
        night.morning()


def test_one_of_three_does_not_become_healthy(trio: ServersNight) -> None:
    """The new release exits on one server alone, under load, with `on_failure = "hold"`.

    None has switched, all go back.
    """
    night = trio
    volume = f"{night.site.app}-{remote.ENV}_scratch"
    night.machines["app2"].sh('touch "$(docker volume inspect --format "{{.Mountpoint}}" "$1")/marked"', volume)
    with remote.under_load(night.site, night.machines) as clients:
        output = night.fails(
            "deploy", code=1, OPS_ROLLOUT__ON_FAILURE="hold", OPS_VARIABLES__BEHAVIOUR="exits-where-marked"
        )
        night.says(output, "told to exit at once", where="app2", then="ssh root@")
        night.still_serve()
        all_lost_nothing(clients, night)
    night.morning()


# operators


def test_two_operators_on_three_servers(trio: ServersNight, tmp_path: Path) -> None:
    """A second operator deploys, and tries to unlock, while the first lives."""
    night = trio
    night.change()
    other = remote.elsewhere(night.site, tmp_path / "elsewhere")
    with night.held("StartColour:begin", "deploy") as first:
        output = remote.inv(other, "deploy", code=4).stderr
        night.tell("exit 4")
        night.says(
            output,
            "locked by",
            f"process {first.process.pid}",
            ": deploy since",
            where="app1",
            then="inv unlock",
            serves="",
        )
        kept = remote.inv(other, "unlock", "--yes", code=4).stderr
        night.says(kept, "step StartColour", "heard", where="app1", then="wait for it to end", serves="")
        night.still_serve()
    first.end(0)
    assert night.serves() != night.first
    night.morning()


@pytest.mark.parametrize("line", ["kill -s INT -- -$PPID", "kill -TERM $PPID"], ids=["Ctrl-C", "SIGTERM"])
def test_an_interruption_on_three_servers(trio: ServersNight, line: str) -> None:
    """Ctrl-C, or SIGTERM from a job that is cancelled, while the new colours are probed."""
    night = trio
    night.change()
    output = night.struck("AwaitServed:begin", line, "deploy", code=5)
    night.says(output, "interrupted", where="", then=RESUME)
    assert "the lock was lost" not in output, "it is said what serves, also once the connections were let go of"
    night.still_serve()
    night.retried("resume")
    night.tell("then `inv resume` converges")
    night.converged()


def test_killed_at_every_step_on_three_servers(trio: ServersNight, tmp_path: Path) -> None:
    """The operator dies with -9 at a step's first line or its last, and somebody comes from elsewhere.

    Resume, abort, deploy in turn.
    """
    night, number = trio, 0
    night.change()
    plans = night.site.inv("plan", "--json").document["hosts"]
    most = sum(len(plan["steps"]) for plan in plans)
    some = range(most) if os.environ.get("NIGHTS") else range(0, most, 7)
    other = remote.elsewhere(night.site, tmp_path / "elsewhere")
    for number in some:
        state, then = ("begin", "done")[number % 2], ("resume", "abort", "deploy")[number % 3]
        before = night.serves()
        remote.killed(night.site, number, state, "deploy")
        assert all(night.served().values()), "every server serves before any command is typed"
        other.extra = dict(night.site.extra)
        shown = remote.inv(other, then, "--json").document
        assert night.serves() == shown["release"], f"{then} after step {number} ({state})"
        assert (shown["release"] == before) == (then == "abort"), f"{then} after step {number} ({state})"
        night.unstranded()
        night.change()
    night.tell(f"{len(some)} of {most} steps over all servers; resume, abort, deploy in turn")
    night.morning()


# what people write


def test_values_that_are_hard_to_quote(bare: ServersNight) -> None:
    """Quotes, newlines, `$()`, backticks and unicode in settings and secrets arrive unchanged."""
    night, machine = bare, bare.machines["app1"]
    two = f"{HARD}\nsecond 'line'"
    night.site.replace(COMPOSE, "NUMBER: ", 'HARD: "${HARD}", NUMBER: ')
    remote.give_secret(night.site, two)
    night.site.commit("hard")
    night.site.extra["OPS_VARIABLES__HARD"] = two
    night.falls()
    running = next(name for name in night.site.on(machine) if "-app-" in name)
    script = "docker exec \"$1\" python3.11 -c \"import os, json; print(json.dumps([os.environ[n] for n in ('HARD', 'WORD')]))\""
    assert json.loads(machine.sh(script, running)) == [two, two]
    night.tell("a variable and a secret of two lines arrived as they were written")
    night.morning()


def test_a_branch_with_a_long_name(single: ServersNight) -> None:
    """The checkout is on a branch of 300 characters."""
    night = single
    night.site.git("checkout", "--quiet", "-b", "/".join(["feature" * 14] * 3) + "x" * 4)
    assert len(night.site.git("branch", "--show-current").strip()) == 300
    night.site.commit("on a branch")
    night.site.inv("build", "--push")
    night.tell("deployed as any other")
    night.morning()


# a registry's bad days


@pytest.mark.parametrize(("status", "expected", "then"), REFUSALS)
def test_a_registry_that_says_no(single: ServersNight, status: int, expected: str, then: str) -> None:
    """The registry answers 401, 429 or 500 whatever it is asked."""
    night = single
    night.change()
    server = Proxy(0)
    server.always = status
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        before, words = images_on(night), {"OPS_SHIP__BY": "registry", "OPS_SHIP__REGISTRY": f"{server.address}/team"}
        output = night.fails("push", code=1, **words)
        night.says(output, expected, where="localhost", then=then, serves="nothing that runs was touched")
        assert images_on(night) == before
    finally:
        server.shutdown()
        server.server_close()
    night.still_serve()
    night.morning()
