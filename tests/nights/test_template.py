"""The shape that a full-stack template has: edge and app move to another network, and a first deploy fails.

Came from tests/integration/test_template.py. A network that moves is held there by test_shared_and_warm.py, with a tiny app; a first
deploy that failed by tests/flow/test_new_services.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import load
from tests.integration.test_template import (
    CLIENTS,
    COMPOSE,
    FIRST,
    Story,
    answers,
    expected,
    passed,
    prestarts,
    write_web,
)
from tests.support.site import Done, Site, make_template

# so few that the report can list each request which an outage of some seconds costs
SPARSE = load.Scenario(
    kinds=("get", "new"), paths=CLIENTS.paths, connections=2, rate=6, new_rate=10, minimums={"get": 30}
)
STATED = re.compile(r"outage: at most (\d+\.\d) s")


def outage(report: load.Report) -> float:
    """Return the seconds from the first request that failed to the end of the last; raise where that cannot be told."""
    assert report.lost == len(report.losses), "more was lost than the report lists"
    assert all("lost" in reason for reason in report.reasons), report.reasons
    began = min((loss.at - loss.after_ms / 1000 for loss in report.losses), default=0)
    return max((loss.at for loss in report.losses), default=0) - began


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A site with its first release in service."""
    site = make_template(tmp_path)
    try:
        made = Story(site)
        made.deploy(FIRST)
        yield made
    finally:
        site.sweep()


def move_network(site: Site) -> None:
    """Let edge and app share another network."""
    for before, after in (
        ("[edge, data]", "[front, data]"),
        ("networks: [edge]", "networks: [front]"),
        ("  edge: {}\n", "  front: {}\n"),
    ):
        site.replace(COMPOSE, before, after)
    site.commit("another network")


def refused(site: Site, *words: str) -> Done:
    """Let a command be refused under load.

    Nothing has changed, nothing is lost, and the error names the flag that it takes.
    """
    before, ran = answers(site), prestarts(site)
    with load.during(site.url, CLIENTS) as clients:
        done = site.inv(*words, code=2)
        passed(clients.report())
    assert "--include=edge" in done.stderr
    assert (answers(site), prestarts(site)) == (before, ran)
    return done


def included(site: Site, *words: str) -> None:
    """Recreate the edge under load: requests fail for as long as the command says that they did, and no longer."""
    with load.during(site.url, SPARSE) as clients:
        output = site.inv(*words, "--include=edge").stderr
        report = clients.report()
    stated = STATED.search(output)
    assert stated, output
    assert outage(report) <= float(stated[1]) + 0.3, f"{output}\n{report.table()}"


def test_edge_and_app_move_to_another_network_and_back_within_the_outage_that_is_stated(story: Story) -> None:
    """An edge that shares no network with what comes can serve none of it.

    That is refused, and `--include=edge` says what it costs.
    """
    site, before = story.site, story.served[0][0]
    write_web(site, FIRST)
    move_network(site)
    refused(site, "deploy")
    included(site, "deploy")
    assert answers(site) == expected(site.inv("status", "--json").document["release"], FIRST)
    refused(site, "rollback")
    included(site, "rollback")
    assert answers(site) == expected(before, FIRST)


def test_a_first_deploy_that_failed_is_no_obstacle_to_one_with_other_services(tmp_path: Path) -> None:
    """The edge is left with a configuration for services that never came.

    The next first deploy needs no `down --volumes`.
    """
    site = make_template(tmp_path)
    never = "    healthcheck: {test: [CMD, python3.11, -c, exit(1)], interval: 500ms, retries: 2}\n"
    try:
        write_web(site, {"api": ("backend", 8000), "mail": ("mail", 8000)})
        site.replace(COMPOSE, "  mail:\n    <<: *web\n", f"  mail:\n    <<: *web\n{never}")
        site.commit("a service that never gets healthy")
        assert "blue did not become healthy" in site.inv("deploy", code=1).stderr
        assert site.get("/")[0] == 503
        write_web(site, FIRST)
        release = site.inv("deploy", "--json").document["release"]
        assert answers(site) == expected(release, FIRST)
    finally:
        site.sweep()
