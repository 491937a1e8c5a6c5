"""An app of the shape that a full-stack template has, under load, and what its owners change in it between releases.

Web services come, go, get other names and other ports, and edge and app move to another network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import load
from tests.support.site import Done, Site, docker, make_template

COMPOSE, ROUTES = "docker/compose.yml", "nginx/site.conf.j2"
SERVICE = """  {name}:
    <<: *web
    environment: {{SERVICE: {name}, PORT: "{port}"}}
    x-deploy: {{role: web, port: {port}, version: /version}}

"""
ROUTE = """        location /{path}/ {{
            proxy_pass http://{{{{ live['{name}'] }}}};
        }}
"""
# what the paths of a release lead to: the service and its port
Web = Mapping[str, tuple[str, int]]
FIRST: Web = {"api": ("backend", 8000), "users": ("user-api", 8000)}
ADDED: Web = {**FIRST, "mail": ("mail", 8000)}
RENAMED: Web = {**FIRST, "users": ("account-api", 8000), "mail": ("mail-api", 8000)}
MOVED: Web = {path: (name, 8001) for path, (name, _) in RENAMED.items()}
REMOVED: Web = {path: place for path, place in MOVED.items() if path != "mail"}
CHANGES = {"added": ADDED, "renamed": RENAMED, "on other ports": MOVED, "removed": REMOVED}

CLIENTS = load.Scenario(
    kinds=("get", "new"), paths=("/", "/api/version", "/users/version"), connections=8, rate=120, new_rate=20, minimums={"get": 100}
)  # fmt: skip
# so few that the report can list each request which an outage of some seconds costs
SPARSE = load.Scenario(
    kinds=("get", "new"), paths=CLIENTS.paths, connections=2, rate=6, new_rate=10, minimums={"get": 30}
)
STATED = re.compile(r"outage: at most (\d+\.\d) s")


@dataclass
class Story:
    """One site, and the releases that came into service, each with its web services."""

    site: Site
    served: list[tuple[str, Web]] = field(default_factory=list)

    def deploy(self, web: Web) -> None:
        """Put a release with these web services into service, and ask all of them."""
        write_web(self.site, web)
        before = prestarts(self.site) if self.served else []
        release = self.site.inv("deploy", "--json").document["release"]
        self.served.append((release, web))
        assert answers(self.site) == expected(release, web)
        assert prestarts(self.site) == [*before, release]

    def rollback(self, release: str, web: Web) -> None:
        """Go back by one release, and ask all of its web services; its own prestart job runs again, on the newer database."""
        before = prestarts(self.site)
        assert self.site.inv("rollback", "--json").document["release"] == release
        assert answers(self.site) == expected(release, web)
        assert prestarts(self.site) == [*before, release]


def write_web(site: Site, web: Web) -> None:
    """Let the checkout have these web services and the routes to them."""
    compose, routes = (site.root / COMPOSE).read_text(), (site.root / ROUTES).read_text()
    services = "".join(SERVICE.format(name=name, port=port) for name, port in web.values())
    site.write(COMPOSE, re.sub(r"(?ms)^  backend:\n.*?(?=^  db:\n)", lambda _: services, compose))
    to_services = "".join(ROUTE.format(path=path, name=name) for path, (name, _) in web.items())
    site.write(ROUTES, re.sub(r"(?s) *location /api/.*", lambda _: to_services, routes))
    site.commit(", ".join(f"{name}:{port}" for name, port in web.values()))


def expected(release: str, web: Web) -> dict[str, tuple[str, str] | None]:
    """Say who answers on each path: a service of this release, or nobody but the static page."""
    return {path: (web[path][0], release) if path in web else None for path in RENAMED}


def answers(site: Site) -> dict[str, tuple[str, str] | None]:
    """Ask on each path who answers; the static page must be there."""
    assert "A static page." in site.get("/")[1]
    found = {path: site.get(f"/{path}/version")[1] for path in RENAMED}
    known = {path: json.loads(text) if text.startswith("{") else None for path, text in found.items()}
    return {path: (says["service"], says["release"]) if says else None for path, says in known.items()}


def prestarts(site: Site) -> list[str]:
    """Which releases have prepared the database, in their order."""
    database = next(name for name in site.containers() if "-db-" in name)
    words = (
        "psql",
        "--username=template",
        "--tuples-only",
        "--no-align",
        "--command=SELECT release FROM prestart ORDER BY run",
    )
    return docker("exec", database, *words).split()


def passed(report: load.Report) -> None:
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"


def outage(report: load.Report) -> float:
    """Return the seconds from the first request that failed to the end of the last; raise where that cannot be told."""
    assert report.lost == len(report.losses), "more was lost than the report lists"
    assert all("lost" in reason for reason in report.reasons), report.reasons
    began = min((loss.at - loss.after_ms / 1000 for loss in report.losses), default=0)
    return max((loss.at for loss in report.losses), default=0) - began


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A site with its first release in service."""
    site = make_template(tmp_path_factory.mktemp("template"))
    site.extra["OPS_ROLLOUT__KEEP_RELEASES"] = "9"
    try:
        made = Story(site)
        made.deploy(FIRST)
        yield made
    finally:
        site.sweep()


def test_a_deploy_that_has_nothing_to_do_runs_no_job(story: Story) -> None:
    """A second deploy of the same finds nothing to do, and prepares no database."""
    before = prestarts(story.site)
    assert story.site.inv("deploy", "--json").document["changed"] is False
    assert prestarts(story.site) == before == [story.served[0][0]]


@pytest.mark.parametrize("web", CHANGES.values(), ids=CHANGES)
def test_the_web_services_of_a_release_are_others_and_no_request_is_lost(story: Story, web: Web) -> None:
    """The edge that probes a release was configured for another one, which has other services, names or ports."""
    with load.during(story.site.url, CLIENTS) as clients:
        story.deploy(web)
        passed(clients.report())


def test_rollbacks_through_all_of_these_changes_lose_no_request(story: Story) -> None:
    """A rollback meets the same: what it brings back is unknown to the edge, and the releases before are in no colour any more."""
    assert [web for _, web in story.served] == [FIRST, *CHANGES.values()], "not all of them came into service"
    with load.during(story.site.url, CLIENTS) as clients:
        for release, web in story.served[-2::-1]:
            story.rollback(release, web)
        passed(clients.report())


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
    """Let a command be refused under load: nothing has changed, nothing is lost, and the error names the flag that it takes."""
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
        said = site.inv(*words, "--include=edge").stderr
        report = clients.report()
    stated = STATED.search(said)
    assert stated, said
    assert outage(report) <= float(stated[1]) + 0.3, f"{said}\n{report.table()}"


def test_edge_and_app_move_to_another_network_and_back_within_the_outage_that_is_stated(story: Story) -> None:
    """An edge that shares no network with what comes can serve none of it: that is refused, and `--include=edge` says what it costs."""
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
    """The edge is left with a configuration for services that never came: the next first deploy needs no `down --volumes`."""
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
