"""Certificates on a host whose engine is a script: the programs of docker/certificates are the real ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from invoke.context import Context

from deploy.certificates import check, issue, schedule
from deploy.certificates.store import SERVERS, Store, store_of
from deploy.config.environment import Environment
from deploy.config.sections import Tls
from deploy.config.settings import ROOT
from deploy.core.errors import OpsError, Refused
from deploy.core.model import Record
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.site.run import Run
from deploy.state.store import Bundle, State
from deploy.tasks import tls as tasks_tls
from tests.support import backed_up
from tests.support.acme import Pair, signed
from tests.support.samples import settings

COMPOSE = backed_up.COMPOSE.replace(
    "networks: {edge: {}",
    """  certificates:
    image: app/certificates
    x-deploy: {role: certificates}
    networks: {edge: null}
    volumes: [{type: volume, source: certificates, target: /certificates, volume: {}}]
networks: {edge: {}""",
).replace("volumes:\n  postgres: {driver", "volumes:\n  certificates: {}\n  postgres: {driver")
PROGRAM = ROOT / "docker" / "certificates" / "certificates.py"
AUTHORITY = signed("an authority", authority=True)
EDGE = "shop-local-edge-1"


class Engine:
    """An engine of which only this is asked."""

    working = ""

    def inspect(self, name: str) -> Any:
        return type("One", (), {"state": self.working})() if self.working else None


class Host(LocalHost):
    """A host with a volume of certificates, and an edge that serves what it has read last."""

    def __init__(self, folder: Path) -> None:
        self.volume, self.ran, self.lines = folder, list[str](), list[str]()
        self.serves = ""
        self.deaf = self.refuses = False  # the edge reads nothing more, or nginx does not take what is there
        self.obtained: Pair | dict[str, str] = {"error": "certbot", "detail": "nothing"}
        self.observed = Engine()
        folder.mkdir()

    @property
    def engine(self) -> Any:
        return self.observed

    def exchange(self, command: Command, **more: Any) -> tuple[int, bytes, bytes]:
        """Do what the engine would do."""
        self.lines.append(" ".join(command.argv))
        match command.argv:
            case ("docker", "compose", *words):
                program, *rest = words[words.index("certificates") + 1 :]
                if program == "handshake":
                    return self.handshake(rest)
                return self.issue() if program == "issue" else self.program(program, *rest, stdin=more.get("stdin"))
            case ("docker", "exec", _, "nginx", "-t", *_):
                self.ran.append("nginx -t")
                return (1, b"", b"nginx: key values mismatch") if self.refuses else (0, b"", b"")
            case ("docker", "exec", _, "busybox", "kill", "-HUP", "1"):
                self.ran.append("reload")
                self.serves = self.serves if self.deaf else self.chain()
                return 0, b"", b""
            case _:
                return super().exchange(command, **more)

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        code, out, err = self.exchange(command, stdin=None if stdin is None else stdin.encode(), timeout=timeout)
        return Result(code, out.decode(), err.decode())

    def chain(self) -> str:
        """What the volume says is served."""
        return (self.volume / "served" / "fullchain.pem").read_text()

    def program(self, *words: str, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
        """Run the image's program on this volume."""
        self.ran.append(words[0])
        environment = {**os.environ, "CERTIFICATES": str(self.volume)}
        ran = subprocess.run(
            [sys.executable, PROGRAM, *words], input=stdin or b"", capture_output=True, env=environment
        )
        return ran.returncode, ran.stdout, ran.stderr

    def issue(self) -> tuple[int, bytes, bytes]:
        """Keep what a server would have given, or say why it gave nothing."""
        self.ran.append("issue")
        if isinstance(self.obtained, dict):
            return 1, json.dumps(self.obtained).encode(), b""
        code, out, err = self.program("install", stdin=packed(self.obtained))
        self.ran.remove("install")
        return code, out, err

    def handshake(self, options: list[str]) -> tuple[int, bytes, bytes]:
        """Say what the edge serves, and whether it is what was asked for."""
        until = next((word.partition("=")[2] for word in options if word.startswith("--until=")), "")
        expected = (self.volume / "versions" / until / "fullchain.pem").read_text() if until else self.serves
        if not self.serves or self.serves != expected:
            return 1, json.dumps({"error": "not-served", "detail": "another certificate is served"}).encode(), b""
        return 0, json.dumps({"certificate": self.serves, "seconds": 0.2}).encode(), b""


def packed(pair: Pair) -> bytes:
    from deploy.certificates import store

    return store.packed({store.CHAIN: pair.chain, store.KEY: pair.key})


class Place:
    """An environment whose edge serves HTTPS, from a temporary certificate on."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **tls: Any) -> None:
        self.folder = folder
        self.host = Host(folder / "volume")
        tls = tls or {"by": "acme"}
        self.settings = settings(ROOT, state=folder / "state", domain="a.test b.test", tls=tls)
        release = backed_up.release("r1", COMPOSE)
        bundle = Bundle(release, backed_up.rendered(COMPOSE), "")
        State(self.host, self.settings.state_dir).keep(bundle)
        run = Run(self.settings, self.host, bundle)
        monkeypatch.setattr(Run, "edge", EDGE)
        self.store = Store(run, release.of("certificates")[0])
        self.at = Environment(self.settings, self.host, (self.host,))
        self.host.program("temporary", "a.test", "b.test")
        self.host.serves = self.host.chain()
        self.host.ran.clear()


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Place]:
    """Make an environment by settings of TLS."""
    monkeypatch.setitem(backed_up.IMAGES, "app/certificates", "sha256:certificates")

    def made(**tls: Any) -> Place:
        place = Place(tmp_path, monkeypatch, **tls)
        monkeypatch.setattr(issue, "stores_of", lambda _: (place.store,))
        monkeypatch.setattr(check, "reachable_stores", lambda _: ((place.store,), {}))
        monkeypatch.setattr("deploy.site.locked.naming_what_serves", lambda _: __import__("contextlib").nullcontext())
        return place

    return made


def pair() -> Pair:
    """A certificate for the site."""
    return signed("a.test", "b.test", by=AUTHORITY)


def test_a_certificate_is_tested_by_nginx_then_served_and_proven(make: Callable[..., Place]) -> None:
    place = make()
    place.host.obtained = pair()
    (served,) = issue.issue(place.at)
    assert (served.changed, served.certificate.names) == (True, ("a.test", "b.test"))
    assert place.host.ran == ["issue", "select", "nginx -t", "reload"]
    assert place.host.serves == place.host.obtained.chain.decode()
    key = place.host.volume / "served" / "privkey.pem"
    assert (key.stat().st_mode & 0o777, key.read_bytes()) == (0o600, place.host.obtained.key)


def test_one_that_is_not_due_reloads_nothing(make: Callable[..., Place]) -> None:
    place = make()
    place.host.obtained = pair()
    issue.issue(place.at)
    place.host.ran.clear()
    assert not issue.issue(place.at)[0].changed
    assert place.host.ran == ["issue"]


def test_a_reload_that_was_cut_off_is_made_up_for(make: Callable[..., Place]) -> None:
    place = make()
    place.host.obtained = pair()
    temporary = place.host.serves
    issue.issue(place.at)
    place.host.serves = temporary  # the link is new, and the edge has not read it
    assert issue.issue(place.at)[0].changed


@pytest.mark.parametrize(("fault", "slug"), [("refuses", "certificate-invalid"), ("deaf", "certificate-not-served")])
def test_what_nginx_does_not_take_or_does_not_serve_is_taken_back(
    make: Callable[..., Place], fault: str, slug: str
) -> None:
    place = make()
    before = place.host.chain()
    place.host.obtained = pair()
    setattr(place.host, fault, True)
    with pytest.raises(OpsError) as failed:
        issue.issue(place.at)
    assert (failed.value.slug, failed.value.code, place.host.chain()) == (slug, 1, before)
    assert place.host.serves == before


@pytest.mark.parametrize(
    ("document", "slug", "then"),
    [
        ({"error": "rateLimited", "detail": "too many, retry after 2027"}, "tls-rate-limited", "wait until the time"),
        ({"error": "unreachable", "detail": "a.test: refused"}, "challenge-unreachable", "--unprobed"),
        ({"error": "dns", "detail": "NXDOMAIN"}, "tls-failed", "A and AAAA"),
        ({"error": "disk-full", "detail": "0 bytes"}, "disk-full", "inv disk"),
    ],
    ids=lambda value: value["error"] if isinstance(value, dict) else "",
)
def test_a_server_is_asked_once_and_its_answer_says_what_to_do(
    make: Callable[..., Place], document: dict[str, str], slug: str, then: str
) -> None:
    place = make()
    before, place.host.obtained = place.host.chain(), document
    with pytest.raises(OpsError) as failed:
        issue.issue(place.at)
    assert (failed.value.slug, then in failed.value.then, document["detail"] in failed.value.what) == (slug, True, True)
    assert (place.host.ran, place.host.chain()) == (["issue"], before)


def test_a_name_that_is_proven_by_dns_is_asked_for_at_no_address(make: Callable[..., Place]) -> None:
    """What a server did not find is a record then, and not an edge."""
    place = make(by="acme", challenge="dns-01", dns_hook=["python", "/my hook.py"])
    place.host.obtained = {"error": "unauthorized", "detail": "no such record"}
    with pytest.raises(OpsError) as failed:
        issue.issue(place.at)
    assert "every name server" in failed.value.then
    assert "--dns-hook=python '/my hook.py'" in place.store.issuing()
    assert not any("--probe" in line for line in place.host.lines)


def test_a_certificate_of_ones_own_goes_over_stdin_and_no_argument_holds_the_key(
    make: Callable[..., Place], tmp_path: Path
) -> None:
    own = pair()
    (tmp_path / "c.pem").write_bytes(own.chain)
    (tmp_path / "k.pem").write_bytes(own.key)
    (tmp_path / "k.pem").chmod(0o600)
    place = make(by="file", certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem"))
    assert issue.issue(place.at)[0].changed
    assert place.host.ran == ["install", "select", "nginx -t", "reload"]


def test_another_chain_of_the_same_certificate_is_served(make: Callable[..., Place], tmp_path: Path) -> None:
    """Who signed it has a certificate by another: the site's own is the same, and the former chain may expire."""
    intermediate = signed("who signs", by=AUTHORITY, authority=True)
    own = signed("a.test", "b.test", by=intermediate)
    (tmp_path / "k.pem").write_bytes(own.key)
    (tmp_path / "k.pem").chmod(0o600)
    place = make(by="file", certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem"))
    for chain in (own.chain, own.chain.removesuffix(AUTHORITY.chain)):
        (tmp_path / "c.pem").write_bytes(chain)
        assert issue.issue(place.at)[0].changed
        assert place.host.serves == chain.decode()
        assert not issue.issue(place.at)[0].changed


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_of_a_file_with_both_the_certificates_alone_are_kept_as_such(
    make: Callable[..., Place], tmp_path: Path, mode: int
) -> None:
    """A file of somebody's, in whatever form and with whatever text around: others may read what is served of it."""
    own, file = pair(), tmp_path / "both.pem"
    file.write_bytes(b"\xef\xbb\xbf# M\xfcller\r\n" + (own.key + own.chain).replace(b"\n", b"\r\n"))
    file.chmod(mode)
    place = make(by="file", certificate=str(file), key=str(file))
    if mode == 0o644:
        with pytest.raises(Refused, match=f"others may read {file}"):
            issue.issue(place.at)
        return
    assert issue.issue(place.at)[0].changed
    assert place.host.serves == own.chain.decode()


def test_everything_that_is_wrong_with_ones_own_is_reported_before_anything_changes(
    make: Callable[..., Place], tmp_path: Path
) -> None:
    own = signed("a.test")
    (tmp_path / "c.pem").write_bytes(own.chain)
    (tmp_path / "k.pem").write_bytes(pair().key)
    (tmp_path / "k.pem").chmod(0o644)
    place = make(by="file", certificate=str(tmp_path / "c.pem"), key=str(tmp_path / "k.pem"))
    with pytest.raises(Refused) as refused:
        issue.issue(place.at)
    output = refused.value.what
    assert all(words in output for words in ("not for b.test", "does not belong", "others may read")), output
    assert (refused.value.slug, place.host.ran) == ("certificate-invalid", [])


def test_the_timer_goes_by_the_settings_of_now(make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal by hand writes it anew; with a certificate of one's own it goes, or it would take its place."""
    did, place = list[str](), make()

    def remember(what: str) -> None:
        did.append(what)

    monkeypatch.setattr(schedule, "install", lambda _: remember("installed") or "")  # type: ignore[func-returns-value]
    monkeypatch.setattr(schedule, "remove_from", lambda *_: remember("removed"))
    monkeypatch.setattr(issue, "issue", lambda *_, **__: ())
    for tls in (place.settings.tls, Tls(by="file", certificate="c.pem", key="k.pem")):
        at = Environment(place.settings.model_copy(update={"tls": tls}), place.host, (place.host,))
        monkeypatch.setattr("deploy.config.environment.enter", lambda _, at=at: at)
        tasks_tls.renew(Context())
    assert did == ["installed", "removed"]


def test_a_key_of_another_certificate_is_not_kept(make: Callable[..., Place]) -> None:
    place = make()
    place.host.obtained = Pair(pair().chain, pair().key)
    with pytest.raises(OpsError) as failed:
        issue.issue(place.at)
    assert failed.value.slug == "certificate-invalid"
    assert [path.name for path in (place.host.volume / "versions").iterdir()] == ["temporary"]


def test_staging_is_asked_until_the_settings_name_another(make: Callable[..., Place]) -> None:
    words = make().store.issuing()
    assert f"--server={SERVERS['staging']}" in words
    assert words[-2:] == ("a.test", "b.test")


def results(place: Place) -> dict[str, str]:
    return {one.asked: one.result for one in check.check(place.at)}


def test_a_check_sees_an_edge_that_serves_another_one_than_its_volume_has(make: Callable[..., Place]) -> None:
    place = make()
    asked = "the edge serves the certificate of its volume"
    assert results(place)[asked] == "PASS"
    assert results(place)["it is one that browsers may trust"] == "FAIL", "it is temporary"
    place.host.serves = pair().chain.decode()
    assert results(place)[asked] == "FAIL"
    place.host.serves = ""
    assert results(place)[asked] == "UNKNOWN"


def test_a_check_goes_on_where_another_edge_is_not_reached(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make()
    lost = OpsError("app2 did not answer", slug="host-unreachable")
    monkeypatch.setattr(check, "reachable_stores", lambda _: ((place.store,), {"app2": lost}))
    asked = "the edge serves the certificate of its volume"
    found = results(place)
    assert (found[f"localhost: {asked}"], found[f"app2: {asked}"]) == ("PASS", "UNKNOWN")


@pytest.mark.parametrize(("armed", "hours", "result"), [(True, 0, "PASS"), (True, 13, "FAIL"), (False, 0, "FAIL")])
def test_a_check_sees_a_timer_that_nothing_fires(
    make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch, armed: bool, hours: int, result: str
) -> None:
    """It is installed, and never ran: that is well for some hours, where something would fire it."""
    place = make()
    script = place.settings.state_dir / schedule.SCRIPT
    script.write_text("")
    os.utime(script, (time.time() - hours * 3600,) * 2)
    monkeypatch.setattr(schedule, "is_installed", lambda _: True)
    monkeypatch.setattr("deploy.site.timers.is_armed", lambda *_: armed)
    assert results(place)["the host renews it by itself"] == result


def test_a_temporary_certificate_tells_the_edge_that_it_is_one(make: Callable[..., Place]) -> None:
    """So that nobody is sent to it; the one that takes its place has no such file."""
    place = make()
    served = place.host.volume / "served"
    assert (served / "edge.conf").read_text() == "set $is_temporary yes;\n"
    place.host.obtained = pair()
    issue.issue(place.at)
    assert not list(served.glob("*.conf"))


def test_certificates_of_the_tests_are_read_as_those_of_servers_are() -> None:
    assert len(x509.load_pem_x509_certificates(pair().chain)) == 2


def test_a_temporary_certificate_takes_no_other_ones_place(make: Callable[..., Place]) -> None:
    place = make()
    place.host.obtained = pair()
    issue.issue(place.at)
    issued = place.host.chain()
    assert place.store.call("temporary", "a.test") == {
        "version": (place.host.volume / "served").readlink().name,
        "made": False,
    }
    assert place.host.chain() == issued
    shutil.rmtree(place.host.volume / "versions")  # the link leads nowhere: an edge would not start
    assert place.store.call("temporary", "a.test", "b.test")["made"]
    assert len(x509.load_pem_x509_certificates(place.host.chain().encode())) == 1


def test_after_a_rollback_to_a_release_from_before_https_certificates_are_those_of_the_newest_that_has_them(
    make: Callable[..., Place],
) -> None:
    place = make()
    state = State(place.host, place.settings.state_dir)
    for name in ("r1", "r0"):
        state.record(record(name))
    former = Run(place.settings, place.host, Bundle(backed_up.release("r0"), backed_up.rendered(), ""))
    store = store_of(former)
    assert store
    assert (store.run.release.id, store.service.name) == ("r1", "certificates")


def record(release: str) -> Record:
    """A line of the ledger."""
    return Record(release=release, revision=release, command="deploy", outcome="in service", colour="blue",
                  generation=1,
                  schema_revision=None, who="", started="2026-11-20T00:00:00Z", seconds=1, commit_time="")  # fmt: skip
