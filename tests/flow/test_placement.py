"""Which services run on which host, and the ways between hosts."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.config.checkout import Checkout
from deploy.config.environment import Environment
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.facts import Facts
from deploy.core.shell import Command, Result
from deploy.hosts.host import Host
from deploy.hosts.sections import Server
from deploy.release import desired, placement, render
from deploy.rollout import preflight, roles
from tests.support.apart import FOLDER, Apart, Site
from tests.support.fake import FakeHost, invariant
from tests.support.place import bundled
from tests.support.samples import COMPOSE, DATA, IMAGES, container, model, settings


def server(*roles: str, private: str = "") -> Server:
    return Server.model_validate({"address": "192.0.2.1", "roles": roles, "private": private})


def test_services_go_where_roles_ask_for_them_and_find_data_that_is_elsewhere() -> None:
    found = model(
        COMPOSE.replace(
            "redis: {image: redis, x-deploy: {role: data}", "redis: {image: redis, x-deploy: {role: data, port: 6379}"
        )
    )
    placed = placement.place(
        found,
        {
            "a": server("edge", "app"),
            "b": server("edge", "app"),
            "d": server("data", private="10.0.0.9"),
            "w": server("worker"),
        },
    )
    named = {name: sorted(service.name for service in own.services) for name, own in placed.items()}
    assert named == {
        "a": ["backend", "edge", "site"],
        "b": ["backend", "edge"],
        "d": ["redis"],
        "w": ["beat", "worker"],
    }
    assert [name for name, own in placed.items() if any(s.deploy.migrate for s in own.services)] == ["a"]
    rendered = yaml.load_rendered(render.shared(placed["d"], "shop-prod", {"redis": "sha256:1"}, "/env", "", "shop"))
    assert rendered["services"]["redis"]["ports"] == ["10.0.0.9:6379:6379"]
    assert all(service.spec["extra_hosts"] == ["redis=10.0.0.9"] for name in "abw" for service in placed[name].services)


def test_a_host_is_given_the_images_of_what_runs_there(tmp_path: Path) -> None:
    servers = {
        "a": Server(address="192.0.2.2", roles=["edge", "app", "worker"]),
        "d": server("data", private="10.0.0.9"),
    }
    at = Environment(
        settings(state=FOLDER, hosts=servers),
        FakeHost(tmp_path),
        (Apart("a", tmp_path, Event()), Apart("d", tmp_path, Event())),
    )
    code = desired.Code(Checkout("r" * 40, "2026-01-01T00:00:00Z"), IMAGES, dict(IMAGES))
    made = {name: bundle.release for name, bundle in desired.bundles(at, model(DATA), code, {}).items()}
    assert [set(made["d"].images), set(made["d"].config_digests)] == [{"redis"}] * 2
    assert set(made["a"].images) == set(IMAGES) - {"redis"}
    assert made["a"].id == made["d"].id


def test_monitoring_is_on_every_host_that_has_the_role() -> None:
    found = model(DATA.replace("  redis:", "  exporter: {image: redis, x-deploy: {role: monitoring}}\n  redis:"))
    placed = placement.place(
        found,
        {"a": server("edge", "app", "worker", "data", "monitoring", private="10.0.0.1"), "b": server("monitoring")},
    )
    assert [service.name for service in placed["b"].services] == ["exporter"]
    assert "exporter" in {service.name for service in placed["a"].services}
    with pytest.raises(Refused, match="no host has the role monitoring, which exporter needs"):
        placement.place(found, {"a": server("edge", "app", "worker", "data")})


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ({"a": server("edge", "app")}, "no host has the role worker.*no host has the role data"),
        (
            {"a": server("app", "worker", "data"), "b": server("edge")},
            r"hosts\.a\.private is missing: the edge on another host",
        ),
        (
            {"a": server("edge", "app", "worker"), "d": server("data")},
            r"hosts\.d\.private is missing.*x-deploy\.port is missing",
        ),
    ],
)
def test_what_cannot_be_placed_is_refused(servers: dict[str, Server], words: str) -> None:
    with pytest.raises(Refused, match=f"(?s){words}"):
        placement.place(model(), servers)


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ({"d": Facts((container("redis", "", role="data"),))}, ""),
        ({"a": Facts((container("redis", "", role="data"),))}, "redis would begin empty on d, and a has its data"),
        ({"a": Facts(resources=frozenset({"shop-local_kept"}))}, "redis would begin empty on d, and a has its data"),
        (
            {
                "a": Facts(resources=frozenset({"shop-local_kept"})),
                "d": Facts(resources=frozenset({"shop-local_kept"})),
            },
            "",
        ),
        ({"d": Facts((container("edge", "", role="edge"),))}, "d has no role edge, and its edge answers"),
    ],
)
def test_what_would_leave_data_or_an_edge_behind_is_refused(kept: dict[str, Facts], words: str) -> None:
    servers = {
        "a": Server(address="192.0.2.2", roles=["edge", "app", "worker"]),
        "d": server("data", private="10.0.0.9"),
    }
    keeps = DATA.replace("{image: redis,", "{image: redis, volumes: [{type: volume, source: kept, target: /data}],")
    found = model(keeps.replace("volumes: {}", "volumes: {kept: {}}"))
    placed, facts = placement.place(found, servers), {name: kept.get(name, Facts()) for name in servers}
    with pytest.raises(Refused, match=words) if words else nullcontext():
        roles.require_in_place(settings(hosts=servers), found, placed, facts)


def test_hosts_that_are_not_fit_are_reported_beside_roles_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)

    def full(_: object, host: Host, *more: object) -> None:
        raise Refused(f"0.0 GB free on {host.name}")

    monkeypatch.setattr(preflight, "require_host_ready", full)
    monkeypatch.setattr("deploy.config.checkout.read", lambda *_: None)
    monkeypatch.setattr(desired, "model", lambda *_: model())
    monkeypatch.setattr(desired, "placed", lambda *_: dict.fromkeys(site.hosts, model()))
    bare = bundled("r2").release.model_copy(update={"services": ()})
    monkeypatch.setattr(roles, "recorded", lambda *_: {"app2": bare})
    with pytest.raises(
        Refused, match=r"(?s)0.0 GB free on app1.*0.0 GB free on app3.*roles have moved.*app2 gets the role edge"
    ):
        preflight.require_deployable(site.at, site.facts())


class Asked(Apart):
    """A host that tells how it reaches another."""

    def __init__(self, name: str, root: Path, message: str) -> None:
        super().__init__(name, root, Event())
        self.words = message

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        invariant(command.argv[:2] == ("timeout", "3"), command)
        return Result(1 if self.words else 0, "", self.words)


def test_one_address_for_all_proves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    servers = {
        "a": Server(address="10.0.0.2", roles=["edge", "app", "worker"]),
        "d": server("data", private="10.0.0.9"),
    }
    servers["d"] = servers["d"].model_copy(update={"address": "10.0.0.9"})
    at = Environment(
        settings(state=tmp_path, hosts=servers),
        FakeHost(tmp_path),
        (Asked("a", tmp_path, ""), Asked("d", tmp_path, "not asked")),
    )
    preflight.require_reachable(at, model(DATA), {"a": set(), "d": {"redis"}})
    assert "d: address and private are the same" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    ("message", "public", "running", "words"),
    [
        ("", True, "redis", ""),
        ("bash: connect: Connection refused", True, "", ""),
        (
            "bash: connect: Connection refused",
            True,
            "redis",
            "redis on d is not open at 10.0.0.9:6379.*inv deploy --include=redis",
        ),
        ("bash: connect: No route to host", True, "", "a cannot reach 10.0.0.9:6379, where redis is on d"),
        ("", False, "", "redis on d is open to the outside, at 192.0.2.1:6379"),
    ],
)
def test_the_private_path_is_proven_and_the_public_one_closed(
    tmp_path: Path, message: str, public: bool, running: str, words: str
) -> None:
    servers = {
        "a": Server(address="192.0.2.2", roles=["edge", "app", "worker"]),
        "d": server("data", private="10.0.0.9"),
    }
    here: Any = FakeHost(tmp_path)
    here.port_is_free = lambda address, _: public or address != "192.0.2.1"
    at = Environment(
        settings(state=tmp_path, hosts=servers),
        here,
        (Asked("a", tmp_path, message), Asked("d", tmp_path, "not asked")),
    )
    there = {"a": set[str](), "d": {running}}
    if not words:
        preflight.require_reachable(at, model(DATA), there)
        return
    with pytest.raises(Refused, match=words):
        preflight.require_reachable(at, model(DATA), there)
