"""What must be true before anything is changed, where the real fault cannot be had on every machine."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.config.sections import Edge, Tls
from deploy.core.errors import Refused
from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import Record, Schema
from deploy.edge import certificates
from deploy.hosts.local import LocalHost
from deploy.release import desired
from deploy.rollout import preflight, reversible
from tests.support.fake import FakeHost
from tests.support.samples import COMPOSE, model, release, settings


class Tight(FakeHost):
    """A host whose memory is known."""

    def free_memory(self) -> int:
        """Half a gigabyte."""
        return 500_000_000


def colour(name: str, state: str = "running") -> Container:
    return Container(f"{name}-web-1", "web", "web", name, "r1", state, "", "sha256:x")


@pytest.mark.parametrize(
    ("held", "containers", "expected"),
    [
        ({"blue-web-1": 100_000_000}, [colour("blue")], False),
        ({"blue-web-1": 400_000_000}, [colour("blue")], True),
        ({"blue-web-1": 400_000_000, "green-web-1": 300_000_000}, [colour("blue"), colour("green")], False),
        ({"blue-web-1": 400_000_000, "green-web-1": 300_000_000}, [colour("blue"), colour("green", "exited")], True),
    ],
    ids=["fits", "too much", "an idle colour is stopped first", "a stopped one gives nothing back"],
)
def test_two_colours_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: dict[str, int], containers: list[Container], expected: bool
) -> None:
    host = Tight(tmp_path)
    monkeypatch.setattr(host.engine, "memory", held.__getitem__, raising=False)
    wanted = settings(tmp_path, rollout={"free_memory_gb": 0.2})
    facts = Facts(tuple(containers), EdgeFacts(True, 2, "blue", "r1"))
    output = preflight.low_memory(wanted, host, facts)
    assert bool(output) == expected
    assert all(
        "0.5 GB of memory is available; a second colour takes 0.4 GB, and 0.2 GB must remain" in line for line in output
    )


def test_rolling_wants_room_for_one_replica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = [replace(colour("blue"), name=f"blue-web-{number}", number=number) for number in (1, 2)]
    host = Tight(tmp_path)
    monkeypatch.setattr(host.engine, "memory", lambda _: 250_000_000, raising=False)
    facts = Facts(tuple(two), EdgeFacts(True, 2, "blue", "r1"))
    for strategy, least, output in (("blue_green", 0.2, True), ("rolling", 0.2, False), ("rolling", 0.3, True)):
        wanted = settings(tmp_path, rollout={"free_memory_gb": least, "strategy": strategy})
        assert bool(preflight.low_memory(wanted, host, facts)) == output, strategy


def test_a_name_that_no_dns_can_know_is_refused(tmp_path: Path) -> None:
    found = model(COMPOSE.replace("  backend:", f"  {'b' * 20}:"))
    preflight.require_names_fit(settings(tmp_path), found)
    with pytest.raises(Refused, match=r"more than 63 characters.*bbb-green-1"):
        preflight.require_names_fit(settings(tmp_path).model_copy(update={"app": "a" * 31}), found)


def test_a_clock_behind_the_ledger_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    entry = Record(release="r1", revision="c1", command="deploy", outcome="in service", colour="blue", generation=2,
                   schema_revision=None,
                   who="me", started="2999-01-01T00:00:00Z", seconds=1, commit_time="")  # fmt: skip
    preflight.warn_of_clock(LocalHost(), [entry.model_copy(update={"started": "2020-01-01T00:00:00Z"})])
    assert capsys.readouterr().err == ""
    preflight.warn_of_clock(LocalHost(), [entry])
    assert "the last deploy was recorded at 2999-01-01T00:00:00Z" in capsys.readouterr().err


def test_only_shared_services_can_be_included() -> None:
    assert preflight.read_include(" redis,edge ,", ["redis", "edge"]) == ("redis", "edge")
    with pytest.raises(Refused, match="backend, nope is no shared service"):
        preflight.read_include("backend,edge,nope", ["redis", "edge"])


def test_a_port_is_closed_to_this_machine_whatever_its_address_is_like() -> None:
    """By IPv6 as well; and what this machine cannot even name, being behind a gateway, it does not reach."""
    here = LocalHost()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        port = listening.getsockname()[1]
        assert not here.port_is_free("::1", port)
        facts = Facts((), EdgeFacts(running=False, expected=True))
        for address in ("::1", "[::1]"):
            own = settings(Path(), edge={"address": address, "port": port})
            (taken,) = preflight.taken_ports(own, here, facts)
            assert f"port {port} is taken" in taken
            assert desired.published(address) == "[::1]", "as Compose has it"
    assert here.port_is_free("::1", port)
    assert here.port_is_free("no-such-host.invalid", 6379)


@pytest.mark.parametrize(
    ("revision", "found", "refused"), [("1", True, True), ("2", True, False), (None, True, False), ("1", False, False)]
)
def test_a_host_that_did_not_migrate_judges_by_what_it_knows(revision: str | None, found: bool, refused: bool) -> None:
    """The host that did may have been taken out of the file."""
    elsewhere = release("a", without=("backend",))
    schema = Schema(revision="2", serves=("2",), release="b") if found else None
    with pytest.raises(Refused, match="is of schema 1") if refused else nullcontext():
        reversible.schema_fits(elsewhere, revision, schema, "")


def test_a_state_folder_that_was_removed_under_the_edge_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The edge's container goes on with the folder that it had, and would not hear of a new release."""
    host, wanted = FakeHost(tmp_path), settings(tmp_path, state=tmp_path)
    facts = Facts(
        (Container("shop-edge-1", "edge", "edge", "", "", "running", "", "sha256:x"),), EdgeFacts(True, 2, "blue", "r1")
    )
    monkeypatch.setattr(host.engine, "mounted", lambda *_: str(tmp_path / "edge"), raising=False)
    assert "inv deploy --include=edge" in "".join(preflight.folder_conflicts(wanted, host, facts))
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "current").symlink_to("generations/2")
    assert preflight.folder_conflicts(wanted, host, facts) == []
    monkeypatch.setattr(host.engine, "mounted", lambda *_: "/home/other/edge", raising=False)
    assert "is configured from /home/other/edge" in "".join(preflight.folder_conflicts(wanted, host, facts))


SECURE = COMPOSE.replace(
    "ports: [{target: 8080}]",
    "ports: [{target: 8080}, {target: 8443}], volumes: [{type: volume, source: certificates, target: /etc/certificates}]",
)


def test_https_without_a_place_for_certificates_is_refused_and_the_file_named() -> None:
    secure = settings(tls=Tls(by="acme"))
    certificates.require_mounted(settings(), model())
    certificates.require_mounted(secure, model(SECURE))
    with pytest.raises(
        Refused, match=r"edge has no volume at /etc/certificates\n.*edge does not publish 8443"
    ) as refused:
        certificates.require_mounted(secure, model())
    assert refused.value.then.startswith("add docker/compose.tls.yml to compose of deploy/environments/local.toml")


def test_a_port_of_https_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        own = settings(tmp_path, tls=Tls(by="acme"), edge=Edge(tls_port=port))
        facts = Facts((), EdgeFacts(False, 0, None, None))
        assert any(
            f"port {port} is taken" in line and "edge.tls_port" in line
            for line in preflight.taken_ports(own, LocalHost(), facts)
        )
        plain = own.model_copy(update={"tls": Tls()})
        assert not any(f"port {port} is" in line for line in preflight.taken_ports(plain, LocalHost(), facts))
