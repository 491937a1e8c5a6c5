"""What fails, or is interrupted, once something was changed: the exit code says so, and everybody else goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import Interrupted, OpsError, Refused, Unreachable
from deploy.core.shell import Command, Result
from deploy.hosts.sections import Server
from deploy.insight import prune, status
from deploy.rollout import commands, failures, maintenance, revert, roles, steps, takedown
from deploy.rollout.apply import Outcome
from deploy.site import hooks
from deploy.site.run import Fleet, Run
from tests.flow import test_behind as behind
from tests.flow.test_days_work import Printed
from tests.support.apart import FOLDER, Apart, Site
from tests.support.fake import FakeHost
from tests.support.faults import fail_at, killed, nth, when
from tests.support.place import Killed, Place, applied, bundled
from tests.support.samples import container, settings

pytestmark = pytest.mark.usefixtures("no_waiting")


def deaf() -> Refused:
    return Refused("the Docker engine does not answer", where="app2", then="on app2: systemctl start docker")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


class Rolling(Site):
    """Three hosts with two replicas of each service."""

    def deploy(self, name: str) -> Outcome:
        runs = [Run(self.settings, host, bundled(name, 2)) for host in self.hosts.values()]
        for run in runs:
            run.state.keep(run.bundle)
        return applied(Fleet(self.at, tuple(runs)), "deploy")


@pytest.mark.parametrize("error", [deaf(), OpsError("it failed")], ids=["refused", "failed"])
def test_an_abort_that_one_host_refuses_half_way_left_them_apart(site: Site, error: OpsError) -> None:
    killed(site, site.hosts["app1"], "Switch", "r3")
    fail_at(site.hosts["app1"], "Switch", error)
    with pytest.raises(Interrupted, match=error.what) as raised:
        commands.abort(site.at)
    assert (site.serving, raised.value.code) == (["r3", "r2", "r2"], 5)
    assert "app1: release r3" in raised.value.serves
    assert raised.value.then.startswith("inv abort again")
    site.revive()
    commands.abort(site.at)
    assert site.serving == ["r2"] * 3


def test_a_half_rolled_release_that_does_not_go_back_first_is_an_interruption(tmp_path: Path) -> None:
    site = Rolling(tmp_path, strategy="rolling", keep_releases=5)
    nth(site.hosts["app3"], "Switch", "done", 1, site.dead.set)
    with pytest.raises(Killed):
        site.deploy("r3")
    for host in site.hosts.values():
        vars(host).pop("append", None)
    site.revive()
    fail_at(site.hosts["app2"], "Switch", deaf())
    with pytest.raises(Interrupted, match="the Docker engine does not answer"):
        site.deploy("r4")
    site.revive()
    assert site.deploy("r4").changed
    assert site.serving == ["r4"] * 3


def test_down_that_one_host_refuses_is_no_refusal(site: Site) -> None:
    host: Any = site.hosts["app2"]
    run = host.try_run

    def broken(command: Command, **more: Any) -> Any:
        if "down" in command.argv:
            raise Refused("`docker` is not installed", where="app2")
        return run(command, **more)

    for other in site.hosts.values():
        other.engine.require = lambda: None  # type: ignore[method-assign]  # what is asked before anything is done
    host.try_run = broken
    with pytest.raises(Refused) as raised:
        takedown.down(site.at, volumes=False)
    assert (raised.value.code, raised.value.then) == (1, "inv down again, once every host answers")
    assert any(" down " in f"{words} " for words in site.hosts["app1"].executed)


def test_prune_that_one_host_refuses_is_no_refusal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(_: object, host: Any, __: object) -> int:
        if host.name == "app2":
            raise deaf()
        return 0

    for other in site.hosts.values():
        monkeypatch.setattr(other.engine, "usage", dict, raising=False)
    monkeypatch.setattr(prune, "find_waste", lambda *_: prune.Waste(("r1",)))
    monkeypatch.setattr(prune, "remove", remove)
    with pytest.raises(Refused) as raised:
        prune.prune(site.at, yes=True, json=False)
    assert (raised.value.code, raised.value.then) == (1, "inv prune again, once every host answers")
    assert "release r2" in raised.value.serves


def test_one_that_breaks_as_it_is_to_go_back_keeps_no_other_from_it(site: Site) -> None:
    host: Any = site.hosts["app3"]
    read, broken = host.read, Event()

    def reading(path: Path) -> Any:
        if broken.is_set() and path.name == "scale.json":
            raise Unreachable("the connection to app3 broke", where="app3")
        return read(path)

    when(site.hosts["app1"], "Switch", "done", broken.set)
    host.read = reading
    fail_at(site.hosts["app2"], "Switch", OpsError("the first failure"))
    with pytest.raises(Interrupted, match=r"the first failure; app3 could not be taken back"):
        site.deploy("r3")
    assert site.serving[:2] == ["r2", "r2"]
    broken.clear()
    commands.abort(site.at)
    assert site.serving == ["r2"] * 3


def test_ctrl_c_while_people_are_notified_of_a_failure_does_not_hide_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(_: object, name: str, __: object) -> str:
        if name == "on_failure":
            raise KeyboardInterrupt
        return ""

    monkeypatch.setattr(hooks, "follow", typed)
    fail_at(place.host, "Switch", OpsError("the first failure"))
    with pytest.raises(OpsError, match="the first failure") as raised:
        place.deploy("r3")
    assert (raised.value.code, place.serving(), place.state.intention()) == (1, "r2", None)


def test_ctrl_c_while_the_others_go_back_says_that_some_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, back = Site(tmp_path, on_failure="hold"), revert.revert

    def typed(*fleet: Any, **more: Any) -> set[str]:
        back(*fleet, **more)
        raise KeyboardInterrupt

    monkeypatch.setattr(failures, "revert", typed)
    fail_at(site.hosts["app2"], "Switch", OpsError("the first failure"))
    with pytest.raises(
        Interrupted, match=r"(?s)the first failure; the new release stays on app1, app3, and going back was interrupted"
    ):
        site.deploy("r3")


def test_half_a_record_keeps_nobody_from_pruning(place: Place) -> None:
    """A full disk leaves it behind, and pruning is what is advised then."""
    for name in ("abc.json", ".def.json.part"):
        place.host.write(place.state.folder / "images" / name, "{}")
    assert prune.find_unused_revisions(place.settings, place.host, set()) == ()


def test_a_release_of_another_version_of_the_toolkit_keeps_nobody_from_deploying(site: Site) -> None:
    kept = site.hosts["app2"].real(FOLDER / "releases" / "r2" / "release.json")
    kept.write_text(kept.read_text().rstrip()[:-1] + ',"newer": 1}')
    releases = roles.recorded(site.at, site.facts())
    assert roles.removed_hosts(site.at, releases) == []
    assert all(release.of("edge") for release in releases.values())
    assert site.deploy("r3").changed


def test_what_is_known_of_one_edge_is_damaged_and_the_others_are_shown(site: Site, capsys: Printed) -> None:
    host = site.hosts["app2"]
    host.engine.change(
        next(c.name for c in host.engine.observed.values() if c.role == "edge"), state="exited", health=""
    )
    (host.edge_folder / "current" / "route.json").write_text('{"generation": 3, "col')
    (host.edge_folder / "current" / "inner.conf").write_text("")
    for name in [c.name for c in host.engine.observed.values() if c.colour]:  # of both colours one, and neither runs
        host.engine.change(name, state="exited", health="")
    with pytest.raises(OpsError, match=r"route\.json cannot be read") as raised:
        status.show(site.at, json=False)
    assert str(raised.value.where).startswith("app2: ")
    assert "on app3: release r2 (" in capsys.readouterr().err


def test_a_host_with_a_fault_of_its_own_is_not_laid_at_the_edges_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    def fails(environment: str) -> None:
        raise OpsError("the Docker engine broke off")

    site = behind.Site(tmp_path)
    monkeypatch.setattr(site.hosts["app2"].engine, "one_offs", fails)
    with pytest.raises(OpsError, match="broke off"):
        status.show(site.at, json=False)
    output = capsys.readouterr().err
    assert "on app2: unknown\n" in output
    assert "front does not answer" not in output


def test_maintenance_without_an_edge_is_refused(tmp_path: Path) -> None:
    servers = {
        name: Server.model_validate({"address": f"10.0.0.{n}", "roles": ["app", "data"]})
        for n, name in enumerate(("a", "b"), 1)
    }
    hosts = tuple(Apart(name, tmp_path / name, Event()) for name in servers)
    with pytest.raises(Refused, match="no host has the role edge"):
        maintenance.turn(
            Environment(settings(state=FOLDER, hosts=servers), FakeHost(FOLDER), hosts), on=True, off=False
        )


def test_data_on_a_host_without_an_edge_is_recreated_and_no_outage_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    site = behind.Site(tmp_path)
    host: Any = site.hosts["app1"]
    host.engine.observed["redis"] = container("redis")
    asked: list[str] = []

    def get(_: int, path: str, **__: object) -> tuple[int, str]:
        asked.append(path)
        return 0, ""

    monkeypatch.setattr(host, "get", get)
    monkeypatch.setattr(host, "try_run", lambda *_, **__: Result(0, "", ""))
    monkeypatch.setattr("deploy.rollout.steps.shared.await_healthy", lambda *_, **__: None)
    run = next(run for run in site.fleet("r2").runs if run.host is host)
    steps.RecreateShared(("redis",)).perform(run)
    assert len(asked) < 5
    output = capsys.readouterr().err
    assert ("the app did not answer here before, so no outage is known" in output, "outage: at most" in output) == (
        True,
        False,
    )


def test_what_is_left_of_a_service_that_was_removed_goes_with_the_release_after_next(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.deploy("r1")
    left = []
    for name in ("r2", "r3"):
        bundle = bundled(name)
        kept = tuple(service for service in bundle.release.services if service.name != "worker")
        bundle = replace(bundle, release=bundle.release.model_copy(update={"services": kept}))
        place.state.keep(bundle)
        applied(Fleet(place.at, (Run(place.settings, place.host, bundle),)), "deploy")
        left.append([c.name for c in place.host.engine.observed.values() if c.service == "worker"])
    assert [len(names) for names in left] == [1, 0], "a rollback to r1 starts it again; nothing leads to it from r3"
