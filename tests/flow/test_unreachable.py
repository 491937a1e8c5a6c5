"""One of several hosts is unreachable: the others are shown, and it is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from requests.exceptions import ReadTimeout

from deploy import doctor
from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused, to_ops_error
from deploy.hosts.local import LocalHost
from deploy.incidents import page
from deploy.insight import disk, history, inside, logs, services, status
from deploy.site.checks import Check
from tests.flow.test_days_work import AT, Printed, say
from tests.flow.test_disk_and_prune import USED
from tests.support import prometheus
from tests.support.apart import Site
from tests.support.place import Place


@pytest.fixture
def site(tmp_path: Path, no_waiting: None) -> Site:
    """Three hosts, whose second is in trouble."""
    return Site(tmp_path)


TROUBLE = {
    "unreachable": Refused("app2 did not answer"),
    "a broken disk": OSError(5, "Input/output error", "app2:/x"),
    "an engine that is silent": ReadTimeout("Read timed out"),
}


@pytest.fixture(params=TROUBLE)
def trouble(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> OpsError:
    """What every question to it meets, as the error that the command ends with."""
    met = TROUBLE[request.param]

    def fails(*_: object, **__: object) -> None:
        raise met

    host = site.hosts["app2"]
    for thing, name in (
        (host, "read"),
        (host.engine, "containers"),
        (host.engine, "resources"),
        (host.engine, "usage"),
    ):
        monkeypatch.setattr(thing, name, fails, raising=False)
    return to_ops_error(met)


def left(show: Callable[[], object], trouble: OpsError) -> OpsError:
    """Show something, which ends with the error of the second host."""
    with pytest.raises(OpsError) as raised:
        show()
    assert (raised.value.what, raised.value.code, raised.value.hosts) == (trouble.what, trouble.code, ("app2",))
    assert "app2" in raised.value.where
    return raised.value


def test_status_shows_reachable_hosts(site: Site, trouble: OpsError, capsys: Printed) -> None:
    left(lambda: status.show(site.at, json=True), trouble)
    shown = json.loads(capsys.readouterr().out)
    assert ([host["name"] for host in shown["hosts"]], [*shown["unreachable"]]) == (["app1", "app3"], ["app2"])


def test_the_page_of_the_others_is_written_and_does_not_say_that_all_is_well(
    site: Site, trouble: OpsError, tmp_path: Path
) -> None:
    def quiet(path: str) -> object:
        return {"alerts": []} if path.startswith("/api/v1/alerts") else prometheus.well(path)

    for host in site.hosts.values():
        host.prometheus = quiet
    at = Environment(site.settings, LocalHost(), tuple(site.hosts.values()))
    file = tmp_path / "page.html"
    left(lambda: page.show(at, file=str(file), hours=1), trouble)
    text = file.read_text()
    assert "not every host can be seen" in text
    assert "no alert fires" not in text
    assert "nothing is seen here: " in text
    assert "no data" not in text, "the others are drawn"


def test_history_shows_what_the_others_know(site: Site, trouble: OpsError, capsys: Printed) -> None:
    assert left(lambda: history.show(site.at, limit=1, json=True), trouble).documented
    assert [line["hosts"] for line in json.loads(capsys.readouterr().out)] == [["app1", "app3"]]


def test_logs_are_of_reachable_hosts(
    site: Site, trouble: OpsError, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    for host in site.hosts.values():
        say(
            host,
            monkeypatch,
            {c.name: [AT.format(1, "said")] for c in host.engine.observed.values() if c.service == "beat"},
        )
    found = services.find(site.at, ["backend"])[0]
    left(lambda: logs.show(site.at, [], logs.query("", ""), follow=False), trouble)
    assert capsys.readouterr().out.split("\n")[0].split() == ["app1", "beat", "|", "said"]
    assert [*found] == ["app1 backend", "app3 backend"]


def test_exec_runs_on_a_reachable_host(site: Site, trouble: OpsError, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    for name, host in site.hosts.items():
        monkeypatch.setattr(host, "follow", lambda _, name=name: ran.append(name))
    inside.run(site.at, "backend", ["ls"])
    inside.run(site.at, "backend", ["ls"], host="app3")
    assert ran == ["app1", "app3"]
    with pytest.raises(OpsError, match=trouble.what):
        inside.run(site.at, "backend", ["ls"], host="app2")


def test_disk_measures_reachable_hosts(
    site: Site, trouble: OpsError, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    for name in ("app1", "app3"):
        engine = site.hosts[name].engine
        for asked, answer in {"usage": USED, "folder": site.hosts[name].root}.items():
            monkeypatch.setattr(engine, asked, lambda answer=answer: answer, raising=False)
        monkeypatch.setattr(engine, "log_file", lambda _: None, raising=False)
    assert left(lambda: disk.show(site.at, json=True), trouble).documented
    assert [measured["name"] for measured in json.loads(capsys.readouterr().out)["hosts"]] == ["app1", "app3"]


def test_a_check_that_a_machine_refuses_is_unknown() -> None:
    def look() -> None:
        raise OSError(5, "Input/output error", "app2:/var/lib/shop")

    assert doctor.attempt("app2: disk", look) == Check(
        "app2: disk", "UNKNOWN", "app2:/var/lib/shop: Input/output error"
    )


@pytest.mark.parametrize("limit", [0, -1])
def test_a_history_of_no_lines_is_refused(place: Place, limit: int) -> None:
    with pytest.raises(Refused, match="--limit must be 1 or more"):
        history.show(place.at, limit=limit, json=False)
