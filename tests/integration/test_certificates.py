"""Certificates of a real ACME server, by a real edge: issued from nothing, renewed, kept when the server is away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import load
from tests.support.acme import NAME, Acme, acme_server
from tests.support.certified import NAMES, make_certified, presented
from tests.support.site import Site, docker


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Acme]:
    """A server of certificates."""
    with acme_server(tmp_path / "acme") as started:
        yield started


@pytest.fixture
def certified(tmp_path: Path, acme: Acme) -> Iterator[Site]:
    """A site with HTTPS that nothing was deployed to."""
    site = make_certified(tmp_path, acme)
    yield site
    site.sweep()


def test_a_certificate_is_issued_from_nothing_renewed_and_kept_when_the_server_is_away(
    certified: Site, acme: Acme
) -> None:
    """Nothing is restarted, no request is lost, and each new serial is proven by a handshake."""
    deployed = certified.inv("deploy")
    assert "inv tls.issue" in deployed.stderr
    temporary, edge = presented(acme.address), started(certified)
    assert temporary.issuer == temporary.subject

    clients = load.Scenario(kinds=("get", "new"), paths=("/",), name=NAMES[0], rate=100, new_rate=10)
    with load.during(f"https://{acme.address}", clients) as running:
        (first,) = certified.inv("tls.issue", "--json").document
        issued = presented(acme.address)
        assert (first["changed"], first["serial"], set(first["names"])) == (True, f"{issued.serial_number:x}", {*NAMES})
        (again,) = certified.inv("tls.renew", "--json").document
        assert (again["changed"], again["serial"]) == (False, first["serial"])
        acme.dns("add-a", host=f"{NAME}.", addresses=["127.0.0.1"])
        away = certified.inv("tls.renew", "--now", code=1)
        assert presented(acme.address).serial_number == issued.serial_number
        assert "the certificate that was served before" in away.stderr
        acme.dns("clear-a", host=f"{NAME}.")
        (renewed,) = certified.inv("tls.renew", "--now", "--json").document
        report = running.report()
    assert renewed["serial"] != first["serial"]
    assert f"{presented(acme.address).serial_number:x}" == renewed["serial"]
    assert renewed["seconds"] <= 5
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"
    assert started(certified) == edge
    checks = {one["asked"]: one for one in certified.inv("tls.check", "--json", code=3).document}
    assert {asked for asked, one in checks.items() if one["result"] != "PASS"} == {"the host renews it by itself"}
    assert "as the server asks" in checks["it is valid, and renewed in time"]["evidence"]


def started(site: Site) -> str:
    """When the edge was started."""
    (edge,) = (name for name in site.containers() if "-edge-" in name)
    return docker("inspect", "--format", "{{.State.StartedAt}}", edge)
