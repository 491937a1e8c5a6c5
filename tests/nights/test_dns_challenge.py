"""Names that are proven by DNS: a wildcard, by a command of one's own, from a real server of ACME."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nights.test_certificates import run, script, volume_of
from tests.support.acme import Acme, acme_server
from tests.support.certified import make_certified, presented
from tests.support.site import Site

NAMES = ["books.test", "*.books.test"]
HOOK = """import json, pathlib, sys, urllib.request

action, name, value = sys.argv[1:]
with open("/certificates/hook.log", "a") as log:
    print(action, name, file=log)
fault = pathlib.Path("/acme/fault")
if fault.exists() and fault.read_text() == "refuses":
    sys.exit("the provider is away")
if fault.exists() and action == "add":
    value = "another"
document = {{"host": name + ".", **({{"value": value}} if action == "add" else {{}})}}
place = "http://{address}:8055/" + ("set-txt" if action == "add" else "clear-txt")
opener = urllib.request.build_opener(urllib.request.ProxyHandler({{}}))
opener.open(place, json.dumps(document).encode(), timeout=10)
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Acme]:
    """A server of certificates."""
    with acme_server(tmp_path_factory.mktemp("acme")) as started:
        yield started


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory, acme: Acme) -> Iterator[Site]:
    """A site with a wildcard certificate, to whose names no address leads."""
    for name in ("books.test.", "www.books.test."):
        acme.dns("add-a", host=name, addresses=["127.0.0.1"])
    (acme.folder / "hook.py").write_text(HOOK.format(address=acme.address))
    site = make_certified(tmp_path_factory.mktemp("site"), acme)
    site.extra |= {
        "OPS_DOMAIN": " ".join(NAMES),
        "OPS_TLS__CHALLENGE": "dns-01",
        "OPS_TLS__DNS_HOOK": '["python", "/acme/hook.py"]',
    }
    try:
        site.inv("deploy")
        site.inv("tls.issue")
        yield site
    finally:
        site.sweep()


def calls(site: Site) -> list[str]:
    """What the command was run with."""
    return (volume_of(site) / "hook.log").read_text().splitlines()


def test_a_wildcard_is_issued_where_no_address_leads_to_the_edge(issued: Site, acme: Acme) -> None:
    """A record for each name, gone afterwards; the edge serves the certificate by any name below."""
    (again,) = issued.inv("tls.issue", "--json").document
    assert (again["changed"], set(again["names"])) == (False, {*NAMES})
    assert f"{presented(acme.address, 'any.books.test').serial_number:x}" == again["serial"]
    assert sorted(calls(issued)) == ["add _acme-challenge.books.test"] * 2 + ["remove _acme-challenge.books.test"] * 2
    checks = issued.inv("tls.check", "--json", code=3).document
    wrong = [one["asked"] for one in checks if one["result"] != "PASS"]
    assert wrong == ["the host renews it by itself"], "nothing fires timers on this machine"


def test_the_timer_of_the_host_renews_it(issued: Site, acme: Acme) -> None:
    """It runs the same command."""
    before, path = presented(acme.address).serial_number, script(issued)
    path.write_text(path.read_text().replace(" issue ", " issue --now ", 1))
    ran = run(path)
    assert ran.returncode == 0, ran.stderr
    assert presented(acme.address).serial_number != before


@pytest.mark.parametrize(
    ("fault", "error", "then"),
    [
        ("refuses", "the provider is away", "fix that, then inv tls.issue"),
        ("another", "", "let tls.dns_hook end once every name server"),
    ],
)
def test_a_command_that_fails_and_one_that_has_not_done_it(
    issued: Site, acme: Acme, fault: str, error: str, then: str
) -> None:
    """Where it fails no server is asked; the certificate that was served is."""
    before = presented(acme.address).serial_number
    file: Path = acme.folder / "fault"
    file.write_text(fault)
    try:
        failed = issued.inv("tls.renew", "--now", "--json", code=1).document
    finally:
        file.unlink()
    assert (failed["slug"], error in failed["error"], then in failed["next"]) == ("tls-failed", True, True), failed
    assert presented(acme.address).serial_number == before
