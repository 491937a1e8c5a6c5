"""Certificates of a real ACME server, by a real edge: issued from nothing, renewed, kept when the server is away."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests import load
from tests.support.acme import NAME, Acme, acme_server
from tests.support.certified import NAMES, make_certified, presented
from tests.support.site import Site, docker, free_port

TLS_PORT = free_port()
UNPROBED = "--unprobed"  # names are asked on port 80, which may be another program's here; nights do so


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Acme]:
    """A server of certificates, which asks for challenges on a free port."""
    with acme_server(tmp_path / "acme", free_port()) as started:
        yield started


@pytest.fixture
def certified(tmp_path: Path, acme: Acme) -> Iterator[Site]:
    """A site with HTTPS that nothing was deployed to."""
    site = make_certified(tmp_path, acme, TLS_PORT)
    yield site
    site.sweep()


def serial(acme: Acme) -> str:
    """What the edge serves."""
    return f"{presented(acme.address, port=TLS_PORT).serial_number:x}"


def test_a_certificate_is_issued_from_nothing_renewed_and_kept_when_the_server_is_away(
    certified: Site, acme: Acme
) -> None:
    """Nothing is restarted, no request is lost, and each new serial is proven by a handshake."""
    deployed = certified.inv("deploy")
    assert "inv tls.issue" in deployed.stderr
    temporary, edge = presented(acme.address, port=TLS_PORT), started(certified)
    assert temporary.issuer == temporary.subject
    assert plain_status(acme) == 200, "nobody is sent to a certificate that browsers refuse"

    clients = load.Scenario(kinds=("get", "new"), paths=("/",), name=NAMES[0], rate=100, new_rate=10)
    with load.during(f"https://{acme.address}:{TLS_PORT}", clients) as running:
        (first,) = certified.inv("tls.issue", UNPROBED, "--json").document
        assert (first["changed"], first["serial"], set(first["names"])) == (True, serial(acme), {*NAMES})
        (again,) = certified.inv("tls.renew", UNPROBED, "--json").document
        assert (again["changed"], again["serial"]) == (False, first["serial"])
        acme.dns("add-a", host=f"{NAME}.", addresses=["127.0.0.1"])
        away = certified.inv("tls.renew", UNPROBED, "--now", code=1)
        assert "the certificate that was served before" in away.stderr
        assert serial(acme) == first["serial"]
        acme.dns("clear-a", host=f"{NAME}.")
        (renewed,) = certified.inv("tls.renew", UNPROBED, "--now", "--json").document
        report = running.report()
    assert renewed["serial"] == serial(acme) != first["serial"]
    assert renewed["seconds"] <= 5
    assert plain_status(acme) == 308
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"
    assert started(certified) == edge
    checks = {one["asked"]: one for one in certified.inv("tls.check", "--json", code=3).document}
    assert {asked for asked, one in checks.items() if one["result"] != "PASS"} == {"the host renews it by itself"}
    assert "as the server asks" in checks["it is valid, and renewed in time"]["evidence"]


def plain_status(acme: Acme) -> int:
    """What a visitor gets by plain HTTP."""
    connection = http.client.HTTPConnection(acme.address, acme.http_port, timeout=10)
    with closing(connection):
        connection.request("GET", "/", headers={"Host": NAMES[0]})
        return connection.getresponse().status


def started(site: Site) -> str:
    """When the edge was started."""
    (edge,) = (name for name in site.containers() if "-edge-" in name)
    return docker("inspect", "--format", "{{.State.StartedAt}}", edge)
