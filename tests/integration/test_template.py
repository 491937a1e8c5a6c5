"""An app of the shape that a full-stack template has, under load, and what its owners change in it between releases.

Web services come, go, get other names and other ports. That edge and app move to another network, and that a first deploy fails, is
in tests/nights/test_template.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from tests import load
from tests.support.site import Site, docker, make_template

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
CHANGES = {"renamed, on other ports": MOVED}
if os.environ.get("NIGHTS"):
    CHANGES = {"added": ADDED, "renamed": RENAMED, "on other ports": MOVED, "removed": REMOVED}

CLIENTS = load.Scenario(
    kinds=("get", "new"), paths=("/", "/api/version", "/users/version"), connections=8, rate=120, new_rate=20,
    minimums={"get": 100}
)  # fmt: skip


@dataclass
class Story:
    """One site, and the releases that came into service, each with its web services."""

    site: Site
    served: list[tuple[str, Web]] = field(default_factory=list)

    def deploy(self, web: Web) -> None:
        """Put a release with these web services into service, and ask all of them."""
        write_web(self.site, web)
        before = prestarts(self.site) if self.served else []
        deployed = self.site.inv("deploy", "--json")
        assert "prestart may run migrations that inv does not manage" in deployed.stderr
        release = deployed.document["release"]
        self.served.append((release, web))
        assert answers(self.site) == expected(release, web)
        assert prestarts(self.site) == [*before, release]

    def rollback(self, release: str, web: Web) -> None:
        """Go back by one release, and ask all of its web services.

        Its prestart job is forward-only, and does not run again.
        """
        before = prestarts(self.site)
        back = self.site.inv("rollback", "--json")
        assert back.document["release"] == release
        assert f"nothing shows whether release {release} fits" in back.stderr
        assert answers(self.site) == expected(release, web)
        assert prestarts(self.site) == before


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
    read = {path: json.loads(text) if text.startswith("{") else None for path, text in found.items()}
    return {path: (says["service"], says["release"]) if says else None for path, says in read.items()}


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
    """A rollback meets the same.

    What it brings back is unknown to the edge, and the releases before are in no colour any more.
    """
    assert [web for _, web in story.served] == [FIRST, *CHANGES.values()], "not all of them came into service"
    with load.during(story.site.url, CLIENTS) as clients:
        for release, web in story.served[-2::-1]:
            story.rollback(release, web)
        passed(clients.report())
