"""Roles that move to another host in a release that fails.

Nothing runs twice, nothing is left without what it needs.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.core.facts import Facts
from deploy.hosts.sections import Server
from deploy.release import placement
from deploy.rollout import commands, roles
from deploy.site.facts import observe_all
from tests.support.apart import FOLDER
from tests.support.faults import clear_faults, cut, fail_at, nth, when
from tests.support.place import Killed
from tests.support.roles import Roles, Seen
from tests.support.samples import DATA, model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")
BEFORE, AFTER = {"main": "edge app worker data", "z": "edge app"}, {"main": "edge app data", "z": "edge app worker"}


@pytest.fixture
def site(tmp_path: Path) -> Roles:
    return Roles(tmp_path)


def revive(site: Roles) -> None:
    for host in site.hosts.values():
        vars(host).pop("append", None)
        host.dead.clear()


def test_the_scheduler_is_not_started_while_the_host_that_took_it_cannot_be_reached(
    site: Roles, capsys: pytest.CaptureFixture[str]
) -> None:
    site.deploy("r1", BEFORE)
    z = site.hosts["z"]
    nth(z, "StartColour", "done", 2, lambda: cut(z))
    with pytest.raises(OpsError) as raised:
        site.deploy("r2", AFTER)
    assert raised.value.code == 5
    assert "z may run the scheduler: none is started elsewhere" in capsys.readouterr().err
    clear_faults(z)
    assert site.where("beat") == {"z"}
    commands.abort(site.at)
    assert site.where("beat") == {"main"}


def test_the_scheduler_is_not_started_beside_one_that_is_held(site: Roles) -> None:
    site.deploy("r1", {**BEFORE, "z": "edge app worker"})
    site.deploy("r2", AFTER)
    held = site.at.settings.model_copy(
        update={"rollout": site.at.settings.rollout.model_copy(update={"on_failure": "hold"})}
    )
    site.at = site.at._replace(settings=held)
    z: Any = site.hosts["z"]
    nth(z, "AwaitHealthy", "begin", 2, lambda: setattr(z, "broken", lambda: OpsError("the worker is unwell")))
    with pytest.raises(OpsError, match="held after a failure"):
        commands.rollback(site.at)
    assert site.where("beat") == {"main"}


@pytest.mark.parametrize("bad", ["main", "z"])
def test_workers_whose_role_was_to_move_take_tasks_again(site: Roles, bad: str) -> None:
    site.deploy("r1", {"main": "edge app data", "w": "worker", "z": "edge app"})
    fail_at(site.hosts[bad], "Switch")
    with pytest.raises(OpsError):
        site.deploy("r2", {"main": "edge app data worker", "w": "monitoring", "z": "edge app"})
    assert site.where("worker") == {"w"}
    output = [words for words in site.hosts["w"].executed if words.endswith((" quiet", " resume"))]
    assert output[-1].endswith("resume"), output


def without_redis(site: Roles) -> None:
    """Have redis brought to another host by hand."""
    containers = site.hosts["main"].engine.observed
    del containers[next(name for name, c in containers.items() if c.service == "redis")]


MOVED = {"main": "edge app worker", "z": "edge app data"}


def test_data_that_was_moved_is_not_started_where_it_was_when_a_deploy_fails(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    without_redis(site)
    fail_at(site.hosts["z"], "AwaitHealthy")
    with pytest.raises(OpsError, match="did not become healthy"):
        site.deploy("r2", MOVED)
    assert site.where("redis") == {"z"}


def test_data_that_was_moved_forbids_abort(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    without_redis(site)

    def dies() -> None:
        for host in site.hosts.values():
            host.dead.set()

    nth(site.hosts["z"], "AwaitServed", "done", 1, dies)
    with pytest.raises(Killed):
        site.deploy("r2", MOVED)
    revive(site)
    with pytest.raises(Refused, match=r"redis runs on z, and release r1.* has it on main"):
        commands.abort(site.at)
    assert commands.resume(site.at)
    assert site.where("redis") == {"z"}


def test_data_that_still_runs_where_it_was_is_stopped_by_a_person_first(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    servers = {
        name: server.model_copy(update={"roles": MOVED[name].split()})
        for name, server in site.at.settings.hosts.items()
    }
    found, facts = model(KEEPS.replace("volumes: {}", "volumes: {kept: {}}")), observe_all(site.at)
    both = {name: replace(seen, resources=frozenset({"shop-local_kept"})) for name, seen in facts.items()}
    with pytest.raises(Refused, match="redis still runs on main, and z is to have it: stop it there first"):
        roles.require_in_place(settings(hosts=servers), found, placement.place(found, servers), both)


def test_data_that_was_moved_and_does_not_start_is_not_begun_anew_where_it_was(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    without_redis(site)
    z: Any = site.hosts["z"]

    up = z.up

    def ends(file: str, names: list[str], scale: object) -> object:
        done = up(file, names, scale)
        if "redis" in names:
            z.up = up
            z.engine.change(
                next(name for name, c in z.engine.observed.items() if c.service == "redis"),
                state="exited",
                health="",
                exit_code=1,
            )
        return done

    z.up = ends
    with pytest.raises(OpsError):
        site.deploy("r2", MOVED)
    assert not site.where("redis")
    site.deploy("r2", MOVED)
    assert site.where("redis") == {"z"}


KEEPS = DATA.replace("{image: redis,", "{image: redis, volumes: [{type: volume, source: kept, target: /data}],")


@pytest.mark.parametrize(
    ("there", "words"), [(set[str](), "d, removed from .hosts., may have its data"), ({"shop-local_kept"}, "")]
)
def test_data_does_not_begin_empty_because_its_host_was_taken_out(there: set[str], words: str) -> None:
    servers = {"a": Server(address="192.0.2.2")}
    found = model(KEEPS.replace("volumes: {}", "volumes: {kept: {}}"))
    facts = {"a": Facts(accepted="r1", resources=frozenset(there))}
    with pytest.raises(Refused, match=words) if words else nullcontext():
        roles.require_in_place(settings(hosts=servers), found, placement.place(found, servers), facts, ["d"])


def test_a_host_that_works_without_an_edge_gets_one_only_when_it_is_empty(site: Roles) -> None:
    site.deploy("r1", {"main": "edge app data", "w": "worker", "z": "edge app"})
    wanted, found = {"main": "edge app data", "w": "edge app worker", "z": "edge app"}, model(DATA)
    machines = {
        name: server.model_copy(update={"roles": wanted[name].split()})
        for name, server in site.at.settings.hosts.items()
    }

    def check() -> None:
        facts = observe_all(site.at)
        edgeless = [name for name, release in roles.recorded(site.at, facts).items() if not release.of("edge")]
        assert edgeless == ["w"]
        roles.require_in_place(site.at.settings, found, placement.place(found, machines), facts, edgeless=edgeless)

    with pytest.raises(Refused, match="w gets the role edge while it works without"):
        check()
    site.deploy("r2", {"main": "edge app worker data", "w": "monitoring", "z": "edge app"})
    check()
    w, begun = site.hosts["w"], list[str]()
    nth(w, "StartShared", "begin", 1, lambda: begun.extend(w.listdir(FOLDER / "edge" / "current")))
    site.deploy("r3", wanted)
    assert "nginx.conf" in begun, "an edge does not start without"
    assert site.where("backend") == {"main", "w", "z"}


def test_a_host_that_got_an_edge_in_a_release_that_failed_forbids_no_way_back(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    site.deploy("r2", {**BEFORE, "w": "monitoring"})
    site.deploy("r3", {**BEFORE, "w": "monitoring"})
    fail_at(site.hosts["w"], "AwaitHealthy")
    with pytest.raises(OpsError) as raised:
        site.deploy("r4", {**BEFORE, "w": "edge app worker"})
    assert raised.value.code == 1
    assert commands.rollback(site.at).release.startswith("r2")


def test_an_edge_whose_folder_was_lost_is_no_edge_that_comes(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    main: Any = site.hosts["main"]
    main.remove(FOLDER / "edge")
    main.engine.observed = {name: c for name, c in main.engine.observed.items() if c.role != "edge"}
    facts = observe_all(site.at)
    assert all(release.of("edge") for release in roles.recorded(site.at, facts).values())
    site.deploy("r2", BEFORE)
    assert site.where("backend") == {"main", "z"}


def test_a_worker_that_was_asked_to_take_no_tasks_goes_on_in_whatever_comes_next(site: Roles) -> None:
    first = site.deploy("r1", {"main": "edge app data", "w": "worker", "z": "edge app"}).release

    def dies() -> None:
        for host in site.hosts.values():
            host.dead.set()

    nth(site.hosts["w"], "Quiet", "done", 1, dies)
    with pytest.raises(Killed):
        site.deploy("r2", {"main": "edge app data worker", "w": "monitoring", "z": "edge app"})
    revive(site)
    commands.rollback(site.at, to=first)
    output = [words for words in site.hosts["w"].executed if words.endswith((" quiet", " resume"))]
    assert output[-1].endswith("resume"), output


def test_a_host_that_gets_stuck_on_the_way_back_with_the_scheduler_is_a_persons_choice(site: Roles) -> None:
    site.deploy("r1", BEFORE)
    z: Any = site.hosts["z"]
    when(z, "StopColour", "begin", lambda: setattr(z, "broken", lambda: OpsError("docker stop failed")))
    with pytest.raises(Interrupted, match="z could not be taken back"):
        site.deploy("r2", AFTER)
    assert len(site.where("beat")) <= 1


def test_a_release_that_has_no_edge_where_one_answers_now_is_not_gone_back_to(tmp_path: Path, site: Roles) -> None:
    site.hosts |= {name: Seen(name, tmp_path / name, Event()) for name in ("main", "w")}
    site.hosts["w"].front = site.hosts["main"]
    site.deploy("r1", {"main": "edge app data", "w": "worker"})
    site.hosts["w"].front = None
    site.deploy("r2", {"main": "edge app data", "w": "edge app worker"})
    with pytest.raises(Refused, match=r"w has an edge, and in release r1.* it has none"):
        commands.rollback(site.at)
    assert site.where("backend") == {"main", "w"}
