"""Numbers of replicas and the maintenance page on several hosts: on all or on none, or said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import Interrupted, OpsError, Refused, Unreachable
from deploy.rollout import maintenance, scale
from deploy.state.store import State
from tests.flow import test_behind as behind
from tests.support.apart import FOLDER, NAMES, Site
from tests.support.faults import FULL, fail_at, nth, once
from tests.support.place import Place

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_maintenance_is_refused_while_an_edge_does_not_run(site: Site) -> None:
    edge = next(name for name, c in site.hosts["app2"].engine.observed.items() if c.role == "edge")
    site.hosts["app2"].engine.change(edge, state="exited", health="")
    with pytest.raises(Refused, match="the edge does not run") as raised:
        maintenance.turn(site.at, on=True, off=False)
    assert raised.value.where == "app2"
    assert not any(facts.edge.maintenance for facts in site.facts().values())


def truncated(state: State) -> None:
    path = state.bundle_folder("r2") / "release.json"
    state.host.write(path, str(state.host.read(path))[:40])


DAMAGE: dict[str, Callable[[State], object]] = {
    "no bundle": lambda state: state.host.remove(state.bundle_folder("r2")),
    "half a release.json": truncated,
    "no release.json": lambda state: state.host.remove(state.bundle_folder("r2") / "release.json"),
    "no ledger": lambda state: state.host.remove(state.folder / "ledger.jsonl"),
    "no journal": lambda state: state.host.remove(state.folder / "journal.jsonl"),
    "a damaged scale.json": lambda state: state.host.write(state.folder / "scale.json", "{"),
    "a full disk for the journal": lambda state: once(state.host, "journal.jsonl", FULL),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_maintenance_needs_no_record_of_what_serves(site: Site, damage: Callable[[State], object]) -> None:
    """Nothing auxiliary may stop the essentials: the page is turned by the files that the edge serves from."""
    host = site.hosts["app3"]
    damage(State(host, FOLDER))
    maintenance.turn(site.at, on=True, off=False)
    assert all(facts.edge.maintenance for facts in site.facts().values())
    maintenance.turn(site.at, on=False, off=True)
    assert {(facts.edge.maintenance, facts.edge.release) for facts in site.facts().values()} == {(False, "r2")}
    served = [host.read(FOLDER / "edge" / "current" / name) for name in ("routes.conf", "app.conf")]
    assert served[0] == served[1]


def test_maintenance_that_fails_half_way_is_no_refusal(site: Site) -> None:
    fail_at(site.hosts["app3"], "TurnPage", Refused("nginx refuses it"))
    with pytest.raises(Refused) as raised:
        maintenance.turn(site.at, on=True, off=False)
    assert (raised.value.code, raised.value.then) == (1, "inv maintenance --on again")
    assert "behind the maintenance page" in raised.value.serves


def test_maintenance_that_loses_the_lock_half_way_is_an_interruption(site: Site) -> None:
    fail_at(site.hosts["app3"], "TurnPage", Interrupted("the lock was lost"))
    with pytest.raises(Interrupted) as raised:
        maintenance.turn(site.at, on=True, off=False)
    assert raised.value.code == 5


def backends(site: Site) -> list[int]:
    return [
        sum(c.service == "backend" and c.alive for c in host.engine.observed.values()) for host in site.hosts.values()
    ]


@pytest.mark.parametrize(("number", "step"), [(1, "Switch"), (3, "AwaitHealthy")])
def test_numbers_that_one_host_cannot_have_are_taken_back_on_all(site: Site, number: int, step: str) -> None:
    scale.scale(site.at, "backend=2")
    fail_at(site.hosts["app3"], step)
    with pytest.raises(OpsError):
        scale.scale(site.at, f"backend={number}")
    assert backends(site) == [State(host, FOLDER).scale()["backend"] for host in site.hosts.values()] == [2] * 3


def test_ctrl_c_in_scale_says_what_may_be(site: Site) -> None:
    def typed() -> None:
        raise KeyboardInterrupt

    nth(site.hosts["app2"], "StartColour", "done", 1, typed)
    with pytest.raises(Interrupted, match="some hosts may run another number of backend") as raised:
        scale.scale(site.at, "backend=3")
    assert "inv scale backend=3 again" in raised.value.then
    vars(site.hosts["app2"]).pop("append")
    scale.scale(site.at, "backend=1")
    assert backends(site) == [1] * 3


def test_numbers_that_cannot_be_tried_or_written_down_are_not_kept(place: Place) -> None:
    write = place.host.write

    def full(path: Path, text: str, *, mode: int = 0o644) -> None:
        if path.name == "scale.json":
            vars(place.host).pop("write")
            raise FULL
        write(path, text, mode=mode)

    def unwritten() -> None:
        for _ in ("for the history", "for the first step"):
            once(place.host, "journal.jsonl", FULL)

    faults: tuple[Callable[[], None], ...] = (
        unwritten,
        lambda: setattr(place.host, "write", full),
    )
    for begin in faults:
        begin()
        with pytest.raises(OpsError, match="No space left"):
            scale.scale(place.at, "backend=2")
        assert place.state.scale() == {}
        assert sum(service == "backend" for service, _ in place.containers()) == 1


def test_numbers_of_another_shape_are_not_taken_behind_an_edge(tmp_path: Path) -> None:
    site = behind.Site(tmp_path)
    for name in ("app1", "front"):
        State(site.hosts[name], FOLDER).keep_scale({"backend": 2})
    site.deploy("r3")
    there = {
        name: sum(c.role == "web" and c.alive for c in host.engine.observed.values())
        for name, host in site.hosts.items()
    }
    assert there == {"app1": 1, "app2": 1, "front": 0}


def test_scaling_fails_on_one_host_and_is_undone_on_all(site: Site) -> None:
    assert scale.scale(site.at, "backend=2") == "backend has 2 replica(s) on each host, in later releases too"
    fail_at(site.hosts["app3"], "AwaitHealthy")
    with pytest.raises(OpsError):
        scale.scale(site.at, "backend=3")
    assert [
        sum(c.service == "backend" and c.alive for c in host.engine.observed.values()) for host in site.hosts.values()
    ] == [2, 2, 2]
    assert [State(host, FOLDER).scale() for host in site.hosts.values()] == [{"backend": 2}] * 3


def test_scaling_that_is_refused_half_way_is_no_refusal(site: Site) -> None:
    fail_at(site.hosts["app3"], "Switch", Refused("app3 starts no program"))
    with pytest.raises(Refused) as raised:
        scale.scale(site.at, "backend=2")
    assert (raised.value.code, raised.value.what) == (1, "app3 starts no program")
    assert raised.value.then == "fix it, then inv scale backend=2"


@pytest.mark.parametrize("bad", NAMES)
def test_a_number_that_cannot_be_written_down_on_one_host_is_on_none(site: Site, bad: str) -> None:
    host: Any = site.hosts[bad]
    write = host.write

    def broken(path: Path, text: str, *, mode: int = 0o644) -> None:
        if path.name == "scale.json":
            host.write = write
            raise Unreachable(f"the connection to {bad} broke")
        write(path, text, mode=mode)

    host.write = broken
    with pytest.raises(OpsError, match=f"the connection to {bad} broke"):
        scale.scale(site.at, "backend=3")
    assert [State(host, FOLDER).scale() for host in site.hosts.values()] == [{}] * 3
