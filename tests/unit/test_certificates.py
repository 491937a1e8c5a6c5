"""What a certificate is judged by, and when it is due: pure."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from deploy.certificates import check, schedule
from deploy.certificates.model import (
    STAGING,
    Certificate,
    Window,
    due,
    leaf,
    mistakes,
    overdue,
    renewal_time,
    window_of,
)
from deploy.config.settings import ROOT
from tests.support.acme import PEM, Pair, signed

NOW = datetime(2027, 3, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def lived(days: float, start: datetime = NOW) -> Certificate:
    """A certificate that begins to live."""
    return Certificate(("a.test",), 1, start, start + timedelta(days=days), "CN=an authority")


@pytest.mark.parametrize(("days", "first"), [(90, 60), (64, 64 * 2 / 3), (45, 30), (9.9, 4.95), (6, 3)])
def test_it_is_due_by_what_is_left_of_its_life(days: float, first: float) -> None:
    own, start = lived(days), NOW + timedelta(days=first)
    assert abs(renewal_time(own) - start) < timedelta(seconds=1)
    assert not due(own, None, start - HOUR)
    assert due(own, None, start + HOUR)


def test_it_is_due_when_the_server_asks_for_it_and_not_before() -> None:
    own, window = lived(90), Window(NOW + 5 * DAY, NOW + 6 * DAY)
    assert [due(own, window, NOW + number * DAY) for number in (4, 5, 7)] == [False, True, True]
    late = Window(NOW + 80 * DAY, NOW + 81 * DAY)
    assert not due(own, late, NOW + 70 * DAY)


def renewals(
    days: float, fails: Callable[[datetime], bool], *, window: bool, jitter: Callable[[int], timedelta]
) -> Iterator[timedelta]:  # fmt: skip
    """Let the timer run for sixty days; yield what was left of the certificate's life before each run."""
    own, now, number = lived(days), NOW, 0
    while now < NOW + 60 * DAY:
        number += 1
        now = NOW + number * schedule.EVERY * HOUR + jitter(number)
        asked = Window(own.not_before + own.lifetime * 0.6, own.not_after) if window else None
        yield own.not_after - now
        if due(own, asked, now) and not fails(now):
            own = lived(days, now)


OUTAGES = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 47)), max_size=6)


@given(OUTAGES, st.sampled_from([6, 7, 10, 45, 90]), st.booleans(), st.integers(0, schedule.JITTER))
def test_none_expires_in_sixty_days_with_outages_of_two_days(
    outages: list[tuple[float, float]], days: float, window: bool, jitter: int
) -> None:
    """Outages that follow each other without an hour between are one, and may be longer than half of six days."""
    spans = [(NOW + timedelta(days=start), NOW + timedelta(days=start, hours=hours)) for start, hours in outages]
    apart = [span for at, span in enumerate(spans) if not any(near(span, other) for other in spans[:at])]
    left = renewals(
        days,
        lambda now: any(start <= now <= end for start, end in apart),
        window=window,
        jitter=lambda number: timedelta(minutes=jitter * (number % 2)),
    )
    assert min(left) > timedelta(0)


def near(one: tuple[datetime, datetime], other: tuple[datetime, datetime]) -> bool:
    """Tell whether two outages leave less than a day between them."""
    return one[0] - DAY < other[1] and other[0] - DAY < one[1]


def test_the_simulation_sees_one_that_expires() -> None:
    assert min(renewals(6, lambda _: True, window=False, jitter=lambda _: timedelta(0))) < timedelta(0)


def test_a_renewal_that_fails_for_long_is_overdue() -> None:
    own = lived(90)
    assert [overdue(own, None, NOW + number * DAY) for number in (61, 74, 76)] == [False, False, True]
    window = window_of({"start": "2027-03-06T00:00:00Z", "end": "2027-03-07T00:00:00.5Z"})
    assert [overdue(own, window, NOW + number * DAY) for number in (5, 7)] == [False, True]


AUTHORITY = signed("an authority", authority=True)
OWN = signed("a.test", "*.b.test", by=AUTHORITY)
BETWEEN = signed("between", by=AUTHORITY, authority=True)
CUT_OFF = signed("a.test", by=BETWEEN)
EXPIRED = signed("a.test", by=signed("between", by=AUTHORITY, authority=True, start=-9 * DAY, days=8))
FUTURE = signed("a.test", by=signed("between", by=AUTHORITY, authority=True, start=DAY))
NO_AUTHORITY = signed("a.test", by=signed("between", by=AUTHORITY))
FOR_CLIENTS = signed("a.test", by=AUTHORITY, purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
ED25519 = signed("a.test", by=AUTHORITY, key=ed25519.Ed25519PrivateKey.generate())
SECP256K1 = signed("a.test", by=AUTHORITY, key=ec.generate_private_key(ec.SECP256K1()))
SHORT = signed("a.test", by=AUTHORITY, rsa_bits=1024)


def test_a_certificate_that_can_be_served_has_no_mistake() -> None:
    assert mistakes(OWN.chain, OWN.key, ["a.test", "A.test", "x.b.test"], datetime.now(UTC)) == []


def test_a_wildcard_stands_for_one_label() -> None:
    own = leaf(OWN.chain.decode())
    assert [own.covers(name) for name in ("x.b.test", "b.test", "x.y.b.test", "*.b.test")] == [True, False, False, True]


def alone(pair: Pair) -> bytes:
    """The first certificate of a chain."""
    return x509.load_pem_x509_certificates(pair.chain)[0].public_bytes(PEM)


@pytest.mark.parametrize(
    ("chain", "key", "names", "words"),
    [
        pytest.param(b"nothing", OWN.key, ["a.test"], "none in PEM", id="no certificate"),
        pytest.param(OWN.chain, b"nothing", ["a.test"], "the key is none in PEM", id="no key"),
        pytest.param(OWN.chain, signed("a.test").key, ["a.test"], "does not belong", id="another key"),
        pytest.param(OWN.chain, OWN.key, ["a.test", "c.test"], "it is not for c.test", id="a name is missing"),
        pytest.param(alone(OWN), OWN.key, ["a.test"], "the chain is incomplete", id="without its authority"),
        pytest.param(
            CUT_OFF.chain[:-99], CUT_OFF.key, ["a.test"], "3 certificates begin in it, and 2 are", id="cut off"
        ),
        pytest.param(
            EXPIRED.chain, EXPIRED.key, ["a.test"], "2 of the file, CN=between, expired at", id="its authority expired"
        ),
        pytest.param(
            FUTURE.chain, FUTURE.key, ["a.test"], "CN=between, is not valid before", id="its authority is of tomorrow"
        ),
        pytest.param(
            NO_AUTHORITY.chain, NO_AUTHORITY.key, ["a.test"], "is no authority's", id="signed by no authority"
        ),
        pytest.param(FOR_CLIENTS.chain, FOR_CLIENTS.key, ["a.test"], "it is not for servers", id="for clients"),
        pytest.param(ED25519.chain, ED25519.key, ["a.test"], "browsers refuse its key", id="Ed25519"),
        pytest.param(SECP256K1.chain, SECP256K1.key, ["a.test"], "browsers refuse its key", id="another curve"),
        pytest.param(SHORT.chain, SHORT.key, ["a.test"], "browsers refuse its key", id="a short key"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_reported(chain: bytes, key: bytes, names: list[str], words: str) -> None:
    (mistake,) = mistakes(chain, key, names, datetime.now(UTC))
    assert words in mistake


def test_one_that_has_expired_or_is_of_tomorrow_is_refused() -> None:
    old, new = signed("a.test", start=-9 * DAY, days=8), signed("a.test", start=DAY)
    output = [mistakes(pair.chain, pair.key, ["a.test"], datetime.now(UTC)) for pair in (old, new)]
    assert [words[0][:14] for words in output] == ["it expired at ", "it is not vali"]


def test_a_check_sees_that_the_one_which_signed_it_has_expired() -> None:
    of_files = [check.of_files(pair.chain.decode(), "0o600", datetime.now(UTC), "") for pair in (CUT_OFF, EXPIRED)]
    assert [one.result for one in of_files] == ["PASS", "FAIL"]
    assert "CN=between, expired at" in of_files[1].evidence


def judged(own: Certificate, now: datetime = NOW + DAY) -> dict[str, str]:
    """What a check says of a certificate."""
    return {one.asked: one.result for one in check.of_certificate(own, None, ("a.test", "b.test"), now, "")}


def test_a_check_judges_names_signer_and_time() -> None:
    asked = (
        "it is for a.test",
        "it is for b.test",
        "it is one that browsers may trust",
        "it is valid, and renewed in time",
    )
    assert [judged(lived(90))[one] for one in asked] == ["PASS", "FAIL", "PASS", "PASS"]
    assert judged(replace(lived(90), issuer=f"CN={STAGING} one"))[asked[2]] == "FAIL"
    assert judged(replace(lived(90), self_signed=True))[asked[2]] == "FAIL"
    assert [judged(lived(90), NOW + number * DAY)[asked[3]] for number in (70, 80, 91)] == ["PASS", "FAIL", "FAIL"]


METRICS = """# TYPE ops_certificate_renewal_exit_code gauge
ops_certificate_renewal_exit_code{{app="shop-prod"}} {code}
ops_certificate_renewal_attempt_timestamp_seconds{{app="shop-prod"}} {ran:.0f}
"""


@pytest.mark.parametrize(
    ("code", "hours", "result", "words"),
    [(0, 5, "PASS", "ran at"), (1, 5, "FAIL", "exit 1"), (0, 13, "FAIL", "has not run since")],
)
def test_a_check_judges_the_last_run_of_the_timer(code: int, hours: int, result: str, words: str) -> None:
    text = METRICS.format(code=code, ran=(NOW - hours * HOUR).timestamp())
    one = check.last_run(text, NOW - 100 * DAY, NOW, "renews")
    assert (one.result, words in one.evidence) == (result, True)


@pytest.mark.parametrize(("hours", "result"), [(1, "PASS"), (13, "FAIL")])
def test_a_timer_that_has_not_run_is_a_failure_once_it_should_have(hours: int, result: str) -> None:
    one = check.last_run("", NOW - hours * HOUR, NOW, "renews")
    assert (one.result, "has not run since it was installed" in one.evidence) == (result, True)


@pytest.mark.parametrize(
    ("serials", "hours", "result"),
    [
        ({"app1": 1, "app2": 1}, 99, "PASS"),
        ({"app1": 1, "app2": 2}, 11, "PASS"),
        ({"app1": 1, "app2": 2}, 13, "FAIL"),
        ({"app2": 2}, 0, "UNKNOWN"),
    ],
)
def test_an_edge_that_does_not_fetch_what_another_obtained_is_seen(
    serials: dict[str, int], hours: int, result: str
) -> None:
    own = {name: replace(lived(90), serial=serial) for name, serial in serials.items()}
    (one,) = check.one_for_all(own, "app1", NOW + hours * HOUR)
    assert one.result == result
    assert ("app2" in one.evidence) is ("app1" in serials)


def program(volume: Path, *words: str) -> int:
    """Run the image's program on a volume; return its exit code."""
    ran = [sys.executable, str(ROOT / "docker/certificates/certificates.py"), *words]
    return subprocess.run(ran, env={**os.environ, "CERTIFICATES": str(volume)}, capture_output=True).returncode


def cut(path: Path) -> None:
    """Leave the first bytes of a file, as a loss of power may."""
    path.write_bytes(path.read_bytes()[:30])


CRASHES: dict[str, Callable[[Path], object]] = {
    "the configuration is empty": lambda acme: (acme / "renewal/ours.conf").write_text(""),
    "the configuration is cut off": lambda acme: cut(acme / "renewal/ours.conf"),
    "the configuration is gone": lambda acme: (acme / "renewal/ours.conf").unlink(),
    "the certificate is cut off": lambda acme: cut(acme / "archive/ours/fullchain1.pem"),
    "the key is empty": lambda acme: (acme / "archive/ours/privkey1.pem").write_text(""),
    "the chain is empty": lambda acme: (acme / "archive/ours/chain1.pem").write_text(""),
    "a link is gone": lambda acme: (acme / "live/ours/cert.pem").unlink(),
    "the key is another's": lambda acme: (acme / "archive/ours/privkey1.pem").write_bytes(AUTHORITY.key),
}


def certbots_own(volume: Path) -> Path:
    """Write what certbot keeps of one certificate and an account; return its folder."""
    acme = volume / "acme"
    texts = {"cert": OWN.chain, "chain": AUTHORITY.chain, "fullchain": OWN.chain, "privkey": OWN.key}
    for folder in ("live/ours", "archive/ours", "renewal", "accounts/a.test/dir/1"):
        (acme / folder).mkdir(parents=True)
    for name, text in texts.items():
        (acme / f"archive/ours/{name}1.pem").write_bytes(text)
        (acme / f"live/ours/{name}.pem").symlink_to(f"../../archive/ours/{name}1.pem")
    lines = [f"{name} = {acme}/live/ours/{name}.pem" for name in texts]
    (acme / "renewal/ours.conf").write_text("\n".join(["version = 5.8.0", *lines, "[renewalparams]", ""]))
    for name in ("meta", "private_key", "regr"):
        (acme / f"accounts/a.test/dir/1/{name}.json").write_text("{}")
    return acme


def discard_damaged(volume: Path) -> None:
    """Do what the image does before it asks certbot for anything."""
    ran = [sys.executable, "-c", "import lineage; lineage.discard_damaged('ours')"]
    environment = {**os.environ, "CERTIFICATES": str(volume)}
    subprocess.run(ran, env=environment, cwd=ROOT / "docker/certificates", check=True)


HOOKED = """
import sys, types
errors, common = types.ModuleType("certbot.errors"), types.ModuleType("certbot.plugins.dns_common")
errors.PluginError, common.DNSAuthenticator = type("PluginError", (Exception,), {}), object
sys.modules |= {"certbot": types.ModuleType("certbot"), "certbot.plugins": types.ModuleType("certbot.plugins"),
                "certbot.errors": errors, "certbot.plugins.dns_common": common}
import ops_dns
own = ops_dns.Authenticator()
own.conf = lambda _: sys.argv[1]
try:
    own._perform("a.test", "_acme-challenge.a.test", "proof")
except errors.PluginError as error:
    print(error)
own._cleanup("a.test", "_acme-challenge.a.test", "proof")
"""


@pytest.mark.parametrize(
    ("hook", "printed"),
    [
        ("true", ""),
        (
            "sh -c 'echo the provider is away >&2; exit 3'",
            "ended with 3: add _acme-challenge.a.test proof: the provider",
        ),
        ("/nowhere/hook", "cannot be run in this container"),
    ],
    ids=["done", "failed", "not there"],
)
def test_a_hook_that_fails_keeps_certbot_from_asking_the_server(hook: str, printed: str) -> None:
    """What is to be removed afterwards, and is not, keeps nobody from what was issued."""
    ran = [sys.executable, "-c", HOOKED, hook]
    done = subprocess.run(ran, cwd=ROOT / "docker/certificates", capture_output=True, text=True)
    assert (done.returncode, printed in done.stdout, bool(done.stdout)) == (0, True, bool(printed)), done.stderr


def test_what_a_hook_prints_as_it_fails_shows_no_value_of_its_environment() -> None:
    """Its token is there: it would stand in the log of the host."""
    ran = [sys.executable, "-c", HOOKED, "sh -c 'set -x; : $DNS_TOKEN; exit 1'"]
    own = {**os.environ, "DNS_TOKEN": "hush-hush-hush"}
    done = subprocess.run(ran, cwd=ROOT / "docker/certificates", capture_output=True, text=True, env=own)
    assert ("+ : ***" in done.stdout, "hush" in done.stdout) == (True, False), done.stdout


HANGING = (
    HOOKED.partition("try:")[0]
    + """
ops_dns.ADDED_WITHIN = ops_dns.REMOVED_WITHIN = 0.2
try:
    own._perform("a.test", "_acme-challenge.a.test", "first")
except errors.PluginError as error:
    print(error)
own._cleanup("a.test", "_acme-challenge.a.test", "first")
own._cleanup("b.test", "_acme-challenge.b.test", "second")
"""
)


def test_a_hook_that_hangs_is_ended_and_the_record_that_it_began_removed(tmp_path: Path) -> None:
    """Of the names that were never begun nothing is removed: that hook would hang for each of them."""
    log, hook = tmp_path / "log", tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$*" >>{log}\nexec sleep 60\n')
    hook.chmod(0o700)
    ran = [sys.executable, "-c", HANGING, str(hook)]
    done = subprocess.run(ran, cwd=ROOT / "docker/certificates", capture_output=True, text=True, timeout=30)
    assert "did not end within 0.2 s: add _acme-challenge.a.test first" in done.stdout, done.stderr
    assert log.read_text().splitlines() == [f"{word} _acme-challenge.a.test first" for word in ("add", "remove")]


@pytest.mark.parametrize("crash", CRASHES)
def test_what_a_crash_left_of_certbots_own_is_discarded(tmp_path: Path, crash: str) -> None:
    """Certbot would order a certificate at each run, under a name that nobody reads, or fail for ever."""
    acme = certbots_own(tmp_path)
    CRASHES[crash](acme)
    discard_damaged(tmp_path)
    assert [path for path in acme.rglob("*") if "ours" in path.name] == []
    assert (acme / "accounts/a.test/dir/1/private_key.json").exists()


def test_what_certbot_can_read_stays_and_an_account_that_it_cannot_is_discarded(tmp_path: Path) -> None:
    acme = certbots_own(tmp_path)
    discard_damaged(tmp_path)
    assert (acme / "live/ours/cert.pem").exists()
    assert (acme / "accounts/a.test/dir/1/private_key.json").exists()
    (acme / "accounts/a.test/dir/1/private_key.json").write_text("")
    discard_damaged(tmp_path)
    assert (acme / "live/ours/cert.pem").exists()
    assert not (acme / "accounts/a.test/dir/1").exists()


def handshake(tmp_path: Path, *words: str, hangs: int = 0) -> int:
    """Ask an edge which certificate it serves, whose first connections get no answer; return the exit code."""
    assert program(tmp_path, "temporary", "a.test") == 0
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "served/fullchain.pem", tmp_path / "served/privkey.pem")

    def serve(listener: socket.socket) -> None:
        with suppress(OSError), ExitStack() as hung:  # a socket that is left open fails whichever test runs then
            for _ in range(hangs):
                hung.enter_context(listener.accept()[0])
            while True:
                connection, _ = listener.accept()
                with connection, suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, args=(listener,), daemon=True).start()
        port = f"--port={listener.getsockname()[1]}"
        return program(tmp_path, "handshake", "--address=127.0.0.1", port, "--until=temporary", *words, "a.test")


@pytest.mark.parametrize("within", [(), ("--within=5",)], ids=["asked once", "waited for"])
def test_an_edge_that_serves_a_version_is_seen_to(tmp_path: Path, within: tuple[str, ...]) -> None:
    """Else the timer would reload the edge at each run, and wait for a lock to do so."""
    assert handshake(tmp_path, *within) == 0


def test_a_handshake_that_hangs_does_not_use_up_the_time_in_which_the_edge_is_to_serve(tmp_path: Path) -> None:
    """A good certificate would be taken back for it."""
    assert handshake(tmp_path, "--within=4", hangs=1) == 0
