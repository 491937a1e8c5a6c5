"""The state folder is removed while the site serves: it is written again by what runs, and what serves goes on."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from deploy.core.errors import CommandFailed, OpsError
from deploy.insight import compare
from deploy.rollout import commands, preflight
from deploy.site.facts import observe
from tests.support.faults import fail_at
from tests.support.place import Place

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def gone(place: Place) -> Place:
    """Return a place where r2 serves and nothing on disk says so."""
    shutil.rmtree(place.state.folder)
    return place


def include(place: Place, name: str = "r3") -> None:
    place.deploy(name, recreate={place.host.name: ("edge",)})


def test_what_serves_is_seen_by_what_runs(gone: Place) -> None:
    edge = observe(gone.settings, gone.host).edge
    assert (edge.release, edge.running, edge.forgotten) == ("r2", True, True)


def test_the_advice_is_one_command_that_stops_nothing_before_all_is_ready(gone: Place) -> None:
    facts = observe(gone.settings, gone.host)
    words = "".join(preflight.folder_conflicts(gone.settings, gone.host, facts))
    assert "inv deploy --include=edge" in words
    assert "an outage of seconds" in words
    assert "docker rm" not in words
    assert preflight.folder_conflicts(gone.settings, gone.host, facts, "edge") == []


def test_the_state_says_it_and_the_one_way_out(gone: Place) -> None:
    facts = observe(gone.settings, gone.host)
    compared = compare.compare({gone.host.name: compare.view_of(gone.at, gone.host, facts)})
    assert [finding.what for _, finding in compared.listed if "was removed" in finding.what]
    assert compared.then == "inv deploy --include=edge"


def test_a_deploy_that_includes_the_edge_writes_its_folder_again_before_the_edge_is_stopped(gone: Place) -> None:
    before = len(gone.host.executed)
    include(gone)
    output = gone.host.executed[before:]
    tested = next(
        n for n, line in enumerate(output) if "nginx -t -q -c /etc/edge/generations/" in line and " run " in line
    )
    recreated = next(n for n, line in enumerate(output) if "--force-recreate" in line)
    assert tested < recreated, "a configuration that nginx refuses must stop nothing"
    assert gone.serving() == "r3"
    assert not observe(gone.settings, gone.host).edge.forgotten
    commands.rollback(gone.at, schema_fits="it served on it")
    assert gone.serving() == "r2", "its stopped containers are all that is left of it"


def test_a_deploy_that_fails_after_that_goes_back_to_what_ran(gone: Place) -> None:
    fail_at(gone.host, "AwaitServed")
    with pytest.raises(OpsError):
        include(gone)
    assert gone.serving() == "r2"
    assert all(c.up for c in gone.host.engine.observed.values() if c.release == "r2" and c.role == "web")


def test_a_configuration_that_nginx_refuses_stops_nothing(gone: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_at(gone.host, "RestoreEdge")
    edge = next(c for c in gone.host.engine.observed.values() if c.role == "edge")
    with pytest.raises((OpsError, CommandFailed)):
        include(gone)
    assert not any("--force-recreate" in line for line in gone.host.executed)
    assert gone.host.engine.observed[edge.name] == edge


def test_an_edge_that_was_started_again_without_its_folder_serves_nothing_and_the_next_deploy_gives_it_one(
    gone: Place,
) -> None:
    gone.host.answer, gone.host.mute = "", True
    gone.host.engine.change("shop-local-edge-1", state="restarting", health="")
    facts = observe(gone.settings, gone.host)
    view = compare.view_of(gone.at, gone.host, facts)
    compared = compare.compare({gone.host.name: view})
    assert (compared.visitors, compared.then) == ("errors", "inv deploy")
    assert "no edge passes visitors on to them" in compared.listed[0][1].what
    assert compare.compare({gone.host.name: view}, changing=True).visitors == "nothing", "a first deploy looks the same"
    running = replace(facts, containers=tuple(replace(c, state="running") for c in facts.containers))
    assert preflight.folder_conflicts(gone.settings, gone.host, running) == [], "it is started again and again"
