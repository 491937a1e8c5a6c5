"""Roles that move to another host in a release that fails: nothing runs twice, nothing is left without what it needs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.errors import OpsError, Refused
from deploy.model import EdgeFacts, Facts
from deploy.rollout import placement, preflight, recovery
from deploy.rollout import release as rollout
from deploy.settings import Server
from tests.flow.place import Killed
from tests.flow.test_apart import cut, mend, nth
from tests.flow.test_fleet import DATA, fail_at
from tests.flow.test_hosts_change import Roles, Seen
from tests.samples import container, model, settings

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
    with pytest.raises(OpsError) as told:
        site.deploy("r2", AFTER)
    assert told.value.code == 5
    assert "z may run the scheduler: none is started elsewhere" in capsys.readouterr().err
    mend(z)
    assert site.where("beat") == {"z"}
    recovery.abort(site.at)
    assert site.where("beat") == {"main"}


def test_the_scheduler_is_not_started_beside_one_that_is_held(site: Roles) -> None:
    site.deploy("r1", {**BEFORE, "z": "edge app worker"})
    site.deploy("r2", AFTER)
    held = site.at.settings.model_copy(update={"rollout": site.at.settings.rollout.model_copy(update={"on_failure": "hold"})})
    site.at = site.at._replace(settings=held)
    z: Any = site.hosts["z"]
    nth(z, "AwaitHealthy", "begin", 2, lambda: setattr(z, "broken", lambda: OpsError("the worker is unwell")))
    with pytest.raises(OpsError, match="held after a failure"):
        rollout.rollback(site.at)
    assert site.where("beat") == {"main"}


@pytest.mark.parametrize("bad", ["main", "z"])
def test_workers_whose_role_was_to_move_take_tasks_again(site: Roles, bad: str) -> None:
    site.deploy("r1", {"main": "edge app data", "w": "worker", "z": "edge app"})
    fail_at(site.hosts[bad], "Switch")
    with pytest.raises(OpsError):
        site.deploy("r2", {"main": "edge app data worker", "w": "monitoring", "z": "edge app"})
    assert site.where("worker") == {"w"}
    said = [words for words in site.hosts["w"].said if words.endswith((" quiet", " resume"))]
    assert said[-1].endswith("resume"), said


def without_redis(site: Roles) -> None:
    """Have redis brought to another host by hand."""
    known = site.hosts["main"].engine.known
    del known[next(name for name, c in known.items() if c.service == "redis")]


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
        recovery.abort(site.at)
    assert recovery.resume(site.at)
    assert site.where("redis") == {"z"}


KEEPS = DATA.replace("{image: redis,", "{image: redis, volumes: [{type: volume, source: kept, target: /data}],")


@pytest.mark.parametrize(("there", "words"), [(set[str](), "d, in .hosts. no more, may have its data"), ({"shop-local_kept"}, "")])
def test_data_does_not_begin_empty_because_its_host_was_taken_out(there: set[str], words: str) -> None:
    servers = {"a": Server(address="192.0.2.2")}
    known = model(KEEPS.replace("volumes: {}", "volumes: {kept: {}}"))
    facts = {"a": Facts(accepted="r1", resources=frozenset(there))}
    with pytest.raises(Refused, match=words) if words else nullcontext():
        preflight.moved(settings(hosts=servers), known, placement.place(known, servers), facts, ["d"])


def test_a_host_behind_an_edge_gets_one_of_its_own_only_when_it_is_empty() -> None:
    servers, known = {"a": Server(address="192.0.2.2")}, model()
    placed = placement.place(known, servers)
    behind = Facts((container("worker", "blue", "r1", role="worker"),), EdgeFacts(), accepted="r1")
    with pytest.raises(Refused, match="a has served behind another's edge: deploy with roles"):
        preflight.moved(settings(hosts=servers), known, placed, {"a": behind})
    preflight.moved(settings(hosts=servers), known, placed, {"a": Facts(accepted="r1")})


def test_a_release_that_has_no_edge_where_one_answers_now_is_not_gone_back_to(tmp_path: Path, site: Roles) -> None:
    site.hosts |= {name: Seen(name, tmp_path / name, Event()) for name in ("main", "w")}
    site.hosts["w"].front = site.hosts["main"]
    site.deploy("r1", {"main": "edge app data", "w": "worker"})
    site.hosts["w"].front = None
    site.deploy("r2", {"main": "edge app data", "w": "edge app worker"})
    with pytest.raises(Refused, match=r"w has an edge, and in release r1.* it has none"):
        rollout.rollback(site.at)
    assert site.where("backend") == {"main", "w"}
