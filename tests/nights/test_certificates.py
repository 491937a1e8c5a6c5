"""Certificates: names that lead elsewhere, servers that hang or refuse, disks that fill, lives of seconds."""

from __future__ import annotations

import os
import ssl
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from deploy.certificates import schedule
from deploy.certificates.store import stores_of
from deploy.config.environment import enter
from deploy.core.poll import wait_until
from tests import load
from tests.support.acme import LABEL, NAME, Acme, acme_server, signed
from tests.support.certified import NAMES, make_certified, presented
from tests.support.site import ROOT, Site, docker

CLIENTS = load.Scenario(kinds=("get",), paths=("/",), name=NAMES[0], rate=100, minimums={"get": 200})
LIFE = 30  # seconds, of the profile `moments`


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """A server of certificates."""
    with acme_server(tmp_path_factory.mktemp("acme"), moments=LIFE) as started:
        yield started


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory, acme: Acme) -> Iterator[Site]:
    """A site that serves a certificate of that server."""
    site = make_certified(tmp_path_factory.mktemp("site"), acme)
    site.extra["OPS_TLS__PROFILE"] = "default"
    try:
        site.inv("deploy")
        site.inv("tls.issue")
        yield site
    finally:
        site.sweep()


def script(site: Site) -> Path:
    """Write what the timer of the host runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in site.environment.items():
            patch.setenv(name, value)
        (store,) = stores_of(enter("local"))
        path = site.state / schedule.SCRIPT
        path.write_text(schedule.render(store, site.state))
    return path


def volume_of(site: Site) -> Path:
    """Return where this machine has the certificates."""
    form = "{{.Mountpoint}}"
    return Path(docker("volume", "inspect", "--format", form, f"{site.app}-local_certificates").strip())


def run(path: Path) -> subprocess.CompletedProcess[str]:
    """Do what the timer does."""
    return subprocess.run(["sh", str(path)], capture_output=True, text=True, timeout=300)


def refused(site: Site, acme: Acme, *words: str, slug: str, message: str, **more: str) -> None:
    """A renewal fails, says why and what is next, and the certificate that was served is."""
    before = presented(acme.address).serial_number
    failed = site.inv("tls.renew", "--now", "--json", *words, code=1, **more)
    assert failed.document["slug"] == slug, failed.stderr
    assert message in failed.document["error"] + failed.document["next"], failed.stderr
    assert presented(acme.address).serial_number == before
    assert site.inv("tls.check", "--json", code=3).document[0]["result"] == "PASS"


def test_a_name_that_leads_nowhere(issued: Site, acme: Acme) -> None:
    """DNS has no address for a name yet: seen before a server is asked, and by the server."""
    acme.dns("set-servfail", host=f"{NAMES[1]}.")
    try:
        refused(issued, acme, slug="challenge-unreachable", message=NAMES[1])
        refused(issued, acme, "--unprobed", slug="tls-failed", message="let every name lead to this edge")
    finally:
        acme.dns("clear-servfail", host=f"{NAMES[1]}.")


def test_a_name_that_leads_to_a_closed_port(issued: Site, acme: Acme) -> None:
    """Nothing listens on port 80 where a name leads."""
    acme.dns("add-a", host=f"{NAMES[1]}.", addresses=[acme.resolver])
    try:
        refused(issued, acme, slug="challenge-unreachable", message=NAMES[1])
        refused(issued, acme, "--unprobed", slug="tls-failed", message="open its port 80")
    finally:
        acme.dns("clear-a", host=f"{NAMES[1]}.")


def test_a_challenge_that_another_server_answers(issued: Site, acme: Acme) -> None:
    """What stands before the edge blocks the path of challenges: it answers 404."""
    other, words = f"{acme.name}-other", ("-m", "http.server", "80", "--directory=/etc")
    image = next(iter(docker("image", "ls", "-q", "tiny/certificates").split()))
    docker("run", "--detach", f"--name={other}", f"--label={LABEL}", f"--network={acme.name}", "--user=0",
           "--entrypoint=python", image, *words)  # fmt: skip
    form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    acme.dns("add-a", host=f"{NAMES[1]}.", addresses=[docker("inspect", "--format", form, other).strip()])
    try:
        refused(issued, acme, "--unprobed", slug="tls-failed", message="to no other server")
    finally:
        acme.dns("clear-a", host=f"{NAMES[1]}.")
        docker("rm", "--force", other)


def test_a_name_that_the_server_issues_nothing_for_and_one_that_the_edge_does_not_serve(
    issued: Site, acme: Acme
) -> None:
    """A wrong name in tls.names."""
    wrong = {"OPS_TLS__NAMES": f'["{NAMES[0]}", "blocked.test"]'}
    unknown = issued.inv("tls.renew", "--now", "--json", code=2, **wrong).document
    assert (unknown["slug"], "blocked.test" in unknown["error"]) == ("settings-invalid", True)
    wrong["OPS_DOMAIN"] = " ".join((*NAMES, "blocked.test"))
    refused(issued, acme, slug="challenge-unreachable", message="blocked.test", **wrong)
    refused(issued, acme, "--unprobed", slug="tls-failed", message="blocked.test", **wrong)


def test_a_profile_that_the_server_does_not_have(issued: Site, acme: Acme) -> None:
    """A wrong tls.profile."""
    refused(issued, acme, slug="tls-failed", message="nosuch", OPS_TLS__PROFILE="nosuch")


def test_a_server_that_hangs(issued: Site, acme: Acme) -> None:
    """The server takes connections and never answers."""
    docker("pause", acme.server)
    try:
        refused(issued, acme, slug="tls-failed", message=NAME)
    finally:
        docker("unpause", acme.server)


@pytest.mark.parametrize("rsa_bits", [0, 2048, 1024], ids=["ECDSA", "RSA", "RSA of 1024 bits"])
def test_a_certificate_of_ones_own(issued: Site, acme: Acme, tmp_path: Path, rsa_bits: int) -> None:
    """It is installed over the connection, served and proven; then the server's is served again."""
    pair = signed(*NAMES, by=signed("an authority", authority=True), rsa_bits=rsa_bits)
    for name, data in (("own.pem", pair.chain), ("own.key", pair.key)):
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    own = {"OPS_TLS__CERTIFICATE": str(tmp_path / "own.pem"), "OPS_TLS__KEY": str(tmp_path / "own.key")}
    if rsa_bits == 1024:
        weak = issued.inv("tls.issue", "--json", code=1, OPS_TLS__BY="file", **own)
        assert "EE_KEY_TOO_SMALL" in weak.document["error"], weak.stderr
        return
    (served,) = issued.inv("tls.issue", "--json", OPS_TLS__BY="file", **own).document  # type: ignore[arg-type]
    assert served["serial"] == f"{presented(acme.address).serial_number:x}"
    (tmp_path / "own.key").chmod(0o644)
    refused = issued.inv("tls.issue", "--json", code=2, OPS_TLS__BY="file", **own)
    assert "others may read" in refused.document["error"]
    (back,) = issued.inv("tls.issue", "--json").document
    assert (back["changed"], back["serial"]) == (True, f"{presented(acme.address).serial_number:x}")


def test_a_certificate_is_revoked_by_the_command_of_the_page(issued: Site, acme: Acme) -> None:
    """The server calls it revoked; another one takes its place, and is none."""
    block = (ROOT / "docs/how-to/tls.md").read_text().rpartition("A key that others may have seen")[2].split("```")[1]
    release = issued.inv("status", "--json").document["release"]
    lineage = acme.directory.removeprefix("https://").removesuffix("/dir").replace(":", "-")
    for old, new in (("/var/lib/bookreader-prod", str(issued.state)), ("bookreader-prod", f"{issued.app}-local"),
                     ("RELEASE", release), ("--cert-name production", f"--cert-name {lineage}")):  # fmt: skip
        assert old in block
        block = block.replace(old, new)
    before = presented(acme.address).serial_number
    assert acme.status_of(before) == "Valid"
    ran = subprocess.run(["sh", "-c", block], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert acme.status_of(before) == "Revoked"
    issued.inv("tls.renew", "--now")
    assert acme.status_of(presented(acme.address).serial_number) == "Valid"


def test_a_certificate_for_an_address(issued: Site, acme: Acme) -> None:
    """A first run without a domain: no name leads here, and visitors come by the address."""
    try:
        issued.inv("deploy", OPS_DOMAIN=acme.address)
        (served,) = issued.inv("tls.issue", "--json", OPS_DOMAIN=acme.address).document
        assert served["names"] == [acme.address]
        trusting = ssl.create_default_context(cadata=acme.root())
        handlers = urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
        with urllib.request.build_opener(*handlers).open(f"https://{acme.address}/", timeout=10) as answer:
            assert answer.status == 200
        (again,) = issued.inv("tls.renew", "--json", OPS_DOMAIN=acme.address).document
        assert (again["changed"], again["serial"]) == (False, served["serial"])
        checks = issued.inv("tls.check", "--json", code=3, OPS_DOMAIN=acme.address).document
        assert [one["asked"] for one in checks if one["result"] != "PASS"] == ["the host renews it by itself"]
    finally:
        issued.inv("deploy")
        issued.inv("tls.issue")


@dataclass
class Figures:
    """What the row of a night tells."""

    story: list[str] = field(default_factory=list)

    def tell(self, what: str, seconds: Sequence[float]) -> None:
        """Add how long something took, each time."""
        self.story.append(f"{what} {statistics.median(seconds):.1f} s (median), {max(seconds):.1f} s at worst")


@pytest.fixture
def figures() -> Figures:
    """Nothing yet."""
    return Figures()


@contextmanager
def visiting(address: str) -> Iterator[Mapping[int, float]]:
    """Shake hands again and again meanwhile; yield when each serial was seen first, in seconds since 1970."""
    first, over = dict[int, float](), Event()

    def visit() -> None:
        while not over.wait(0.05):
            first.setdefault(presented(address).serial_number, time.time())

    visitor = Thread(target=visit)
    visitor.start()
    try:
        yield first
    finally:
        over.set()
        visitor.join()


def test_twenty_renewals_lose_no_request(issued: Site, acme: Acme, figures: Figures) -> None:
    """No fault: sixteen clients keep their connections, and a visitor gets each serial 5 s after nginx may read it."""
    took, served, proven, link = list[float](), dict[int, float](), list[float](), volume_of(issued) / "served"
    with load.during(f"https://{acme.address}", CLIENTS) as clients, visiting(acme.address) as first:
        for _ in range(20):
            began = time.monotonic()
            (renewed,) = issued.inv("tls.renew", "--now", "--json").document
            took.append(time.monotonic() - began)
            serial = int(renewed["serial"], 16)
            assert presented(acme.address).serial_number == serial
            assert wait_until(partial(first.__contains__, serial), 5)
            served[serial] = first[serial] - link.lstat().st_mtime
            proven.append(renewed["seconds"])
        report = clients.report()
    figures.story.append(f"{sum(kind.lost for kind in report.kinds.values())} of {report.kinds['get'].requests} lost")
    figures.tell("a renewal took", took)
    figures.tell("served after", [*served.values()])
    figures.tell("three handshakes in a row", proven)
    figures.story.append(f"load {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores")
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"
    assert (len(served), max(*served.values(), *proven) <= 5) == (20, True), figures.story


def test_ten_renewals_of_certificates_of_half_a_minute_by_the_hosts_own_script(issued: Site, acme: Acme) -> None:
    """The script of the timer runs again and again; it renews what is due, and nothing else."""
    issued.inv("tls.renew", "--now", OPS_TLS__PROFILE="moments")
    own, site = {"OPS_TLS__PROFILE": "moments"}, issued
    site.extra |= own
    path, serials = script(site), set[int]()
    try:
        for _ in range(10):
            before = presented(acme.address)

            def renewed(before: int = before.serial_number) -> bool:
                ran = run(path)
                assert ran.returncode == 0, ran.stderr
                return presented(acme.address).serial_number != before

            assert wait_until(renewed, 2 * LIFE, pause=1)
            assert time.time() < before.not_valid_after_utc.timestamp() + LIFE
            serials.add(presented(acme.address).serial_number)
    finally:
        site.extra["OPS_TLS__PROFILE"] = "default"
        site.inv("tls.renew", "--now")
    assert len(serials) == 10


def test_one_that_expired_while_the_machine_was_down(issued: Site, acme: Acme) -> None:
    """Nobody renewed it for longer than it lived: the check says so, and the next run of the timer ends that."""
    issued.inv("tls.renew", "--now", OPS_TLS__PROFILE="moments")
    expiry = presented(acme.address).not_valid_after_utc.timestamp()
    assert wait_until(lambda: time.time() > expiry, 2 * LIFE, pause=1)
    shown = {one["asked"]: one for one in issued.inv("tls.check", "--json", code=3).document}
    assert shown["it is valid, and renewed in time"]["result"] == "FAIL"
    assert run(script(issued)).returncode == 0
    assert presented(acme.address).not_valid_after_utc.timestamp() > time.time()


def test_a_renewal_while_a_deploy_runs(issued: Site, acme: Acme) -> None:
    """The script waits with its reload until the deploy is done; both come to their end, and no request is lost."""
    path = script(issued)
    path.write_text(path.read_text().replace(" issue ", " issue --now ", 1))
    issued.replace("app/app.py", "says hello", "says good day")
    issued.commit()
    with load.during(f"https://{acme.address}", CLIENTS) as clients:
        before = presented(acme.address).serial_number
        with subprocess.Popen(["sh", str(path)], stderr=subprocess.PIPE, text=True) as renewal:
            issued.inv("deploy", OPS_ROLLOUT__WATCH="8")
            assert renewal.wait(120) == 0, renewal.stderr and renewal.stderr.read()
        report = clients.report()
    assert presented(acme.address).serial_number != before
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"


def test_what_certbot_keeps_was_damaged_by_a_loss_of_power(issued: Site, acme: Acme) -> None:
    """Its configuration is empty: one certificate is ordered in its place, and none at the runs after that."""
    before = presented(acme.address).serial_number
    (configuration,) = (volume_of(issued) / "acme/renewal").iterdir()
    configuration.write_text("")
    (renewed,) = issued.inv("tls.renew", "--json").document
    assert renewed["serial"] == f"{presented(acme.address).serial_number:x}" != f"{before:x}"
    assert run(script(issued)).returncode == 0
    assert f"{presented(acme.address).serial_number:x}" == renewed["serial"]
    assert [*configuration.parent.iterdir()] == [configuration]


def test_a_server_that_lost_its_accounts(issued: Site, acme: Acme) -> None:
    """It was restarted, and keeps nothing: another account is made, and the certificate renewed."""
    before = presented(acme.address).serial_number
    docker("restart", acme.server)
    assert wait_until(acme.is_up, 20)
    issued.inv("tls.renew", "--now")
    assert presented(acme.address).serial_number != before


def test_a_disk_that_is_full(tmp_path: Path, acme: Acme, issued: Site) -> None:
    """There is no room in the volume: no order is begun, and what was served is."""
    place = str(volume_of(issued))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", str(tmp_path)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{place}/.", str(tmp_path)], check=True)
        subprocess.run(["mount", "--bind", str(tmp_path), place], check=True)
        subprocess.run(["fallocate", "-l", "1536K", str(tmp_path / "filler")], check=True)
        refused(issued, acme, slug="disk-full", message="inv disk")
    finally:
        subprocess.run(["umount", "--lazy", place], capture_output=True)
        subprocess.run(["umount", "--lazy", str(tmp_path)], capture_output=True)
