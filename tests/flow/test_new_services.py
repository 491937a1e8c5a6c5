"""Web services that the edge's configuration has no word for: added, renamed, on another port.

Both on several edges and on one with hosts behind it. These edges answer by the very text that their nginx has read.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from deploy.config.checkout import Checkout
from deploy.config.environment import Environment
from deploy.core.errors import OpsError
from deploy.core.facts import Container
from deploy.core.model import COLOUR_PORT_OFFSET, Release
from deploy.hosts.sections import Server
from deploy.release import desired
from deploy.rollout import commands
from deploy.rollout.fleet_plan import make_plans
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run
from deploy.state.store import State
from tests.support.apart import FOLDER, Apart
from tests.support.fake import FakeHost, invariant
from tests.support.faults import fail_at
from tests.support.place import FAST, Killed, applied
from tests.support.samples import DATA, IMAGES, model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")
MAIL = """  {}:
    image: app/backend
    x-deploy: {{role: web, port: 8000, version: /version}}
    networks: {{edge: null}}
"""
ADDED, RENAMED = (DATA.replace("  worker:\n", f"{MAIL.format(name)}  worker:\n", 1) for name in ("mail", "mail-api"))
RELEASES = {
    "a service is added": (DATA, ADDED),
    "a service is renamed": (ADDED, RENAMED),
    "a service is removed": (ADDED, DATA),
    "a port changes": (DATA, DATA.replace("port: 8000", "port: 8001")),
    "nothing changes": (ADDED, ADDED),
}
SEVERAL = {name: Server(address=f"192.0.2.{n}", private=f"10.0.0.{n}") for n, name in enumerate(("app1", "app2"), 1)}
ONE = {
    "app1": Server(address="192.0.2.2", roles=["app", "worker"], private="10.0.0.2"),
    "app2": Server(address="192.0.2.3", roles=["app"], private="10.0.0.3"),
    "front": Server(address="192.0.2.1", roles=["edge", "data"], private="10.0.0.1"),
}
# steps that fail, and on which host: the last one that has an edge where none is named
FAILING = {
    "AwaitHealthy": "app1",
    "RegisterColour": "",
    "AwaitServed": "",
    "Switch": "",
    "Drain": "",
    "StopColour": "app1",
}


class Nginx(Apart):
    """A host whose edge reaches what its configuration names, at the ports where that listens."""

    site: Site

    def text(self, *files: str) -> str:
        """Return what nginx has read of one generation."""
        folder = self.edge_folder / "generations" / str(self.generation)
        return "".join((folder / name).read_text() for name in files if (folder / name).exists())

    def reload(self) -> None:
        """Read a generation; nginx refuses upstreams that are nowhere.

        Visitors are served by what they were served by.
        """
        super().reload()
        named = set(re.findall(r"proxy_pass http://([\w-]+_(?:blue|green))", self.text("routes.conf", "inner.conf")))
        upstreams = set(re.findall(r"upstream (\S+) {", self.text("upstreams.conf")))
        invariant(named <= upstreams, "nginx: host not found in upstream")
        route = json.loads(self.text("route.json"))
        release = State(self, FOLDER).release(route["release"]) if route["colour"] else None
        for service in release.of("web") if release else ():
            status, body = self.get(9180, f"/{route['colour']}/{service.name}/version")
            invariant(
                status == 200 and release and release.id in body,
                f"{self.name}: visitors of {service.name} get {status}",
            )

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        if path == "/generation":
            return super().get(port, path)
        _, first, second, _ = path.split("/")
        if first == "replica":
            return self.ask([second])
        if f"location /{first}/{second}/ {{" not in self.text("routes.conf", "inner.conf"):
            return 404, "nginx"
        block = self.text("upstreams.conf").partition(f"upstream {second}_{first} {{")[2].partition("}")[0]
        servers = re.findall(r"server (\S+?):(\d+)( resolve)?", block)
        return self.ask([f"{name}:{number}" for name, number, named in servers if not named or self.resolves(name)])

    def resolves(self, name: str) -> bool:
        return name in self.engine.observed and self.engine.observed[name].up

    def ask(self, places: list[str]) -> tuple[int, str]:
        """Answer for servers of an upstream, all of which must listen: requests go to each in turn."""
        there = [self.site.listening(self).get(place) for place in places]
        found = [c.release for c in there if c]
        well = found and len(found) == len(there) and not self.mute
        return (200, json.dumps({"release": found[0], "releases": found})) if well else (502, "nginx")


class Site:
    """Hosts to which releases of different compose files are deployed."""

    def __init__(self, root: Path, servers: dict[str, Server], strategy: str) -> None:
        self.settings = settings(state=FOLDER, rollout={**FAST, "watch": 0, "strategy": strategy}, hosts=servers)
        self.dead = Event()
        self.hosts = {name: Nginx(name, root / name, self.dead) for name in servers}
        for name, host in self.hosts.items():
            host.site, host.front = self, self.hosts.get(self.settings.fronts.get(name, ""))

    @property
    def at(self) -> Environment:
        return Environment(self.settings, FakeHost(FOLDER), tuple(self.hosts.values()))

    @property
    def edges(self) -> list[Nginx]:
        return [host for name, host in self.hosts.items() if "edge" in self.settings.hosts[name].roles]

    def fleet(self, name: str, text: str) -> Fleet:
        if self.settings.rollout.strategy == "rolling":
            text = text.replace("    x-deploy: {role: web", "    scale: 2\n    x-deploy: {role: web")
        code = desired.Code(Checkout(name * 20, "2026-01-01T00:00:00Z"), IMAGES, {})
        made = desired.bundles(self.at, model(text), code, {})
        runs = tuple(Run(self.settings, host, made[host.name]) for host in self.hosts.values())
        for run in runs:
            run.state.keep(run.bundle)
            self.hosts[run.host.name].engine.made = frozenset(run.release.resources)
        return Fleet(self.at, runs)

    def deploy(self, name: str, text: str) -> Release:
        fleet = self.fleet(name, text)
        applied(fleet, "deploy")
        return fleet.release

    def steps(self, name: str, text: str) -> set[str]:
        """Name the steps that a deploy would take on all hosts."""
        plans = make_plans(self.fleet(name, text).observed(observe_all(self.at)), "deploy")
        return {step.name for plan in plans.values() for step in plan.steps}

    def listening(self, asker: Nginx) -> dict[str, Container]:
        """Where containers listen, as one edge reaches them.

        Its own by their names, those of other hosts at private addresses.
        """
        found = {}
        for name, host in self.hosts.items():
            for c in (
                c for c in tuple(host.engine.observed.values()) if c.role == "web" and c.up
            ):  # other threads add some
                port = (c.deploy and c.deploy.port) or 80
                own, private = (
                    f"{c.name}:{port}",
                    f"{self.settings.hosts[name].private}:{port + COLOUR_PORT_OFFSET[c.colour]}",
                )
                found[own if host is asker else private] = c
        return found

    def served(self) -> dict[str, dict[str, str]]:
        """Which release each edge serves, by web service."""
        found: dict[str, dict[str, str]] = {}
        for edge in self.edges:
            route = json.loads(edge.text("route.json"))
            web = State(edge, FOLDER).release(route["release"]).of("web")
            asked = {service.name: edge.get(9180, f"/{route['colour']}/{service.name}/version") for service in web}
            found[edge.name] = {
                name: json.loads(body)["release"] if status == 200 else body for name, (status, body) in asked.items()
            }
        return found

    def all_serve(self, release: Release) -> bool:
        """Tell whether every edge serves each web service of a release, and none else runs."""
        running = {
            c.release for host in self.hosts.values() for c in host.engine.observed.values() if c.alive and c.colour
        }
        own = {service.name: release.id for service in release.of("web")}
        return running == {release.id} and self.served() == {edge.name: own for edge in self.edges}

    def revive(self) -> None:
        """Another operator comes, from another machine."""
        self.dead.clear()
        for host in self.hosts.values():
            host.fault = host.killed_at = host.broken = None
            host.mute = False


SITES = {
    "several edges": (SEVERAL, "blue_green"),
    "several edges, rolling": (SEVERAL, "rolling"),
    "one edge with hosts behind it": (ONE, "blue_green"),
}


@pytest.fixture(params=SITES.values(), ids=list(SITES))
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(tmp_path, *request.param)


changes = pytest.mark.parametrize(("first", "second"), RELEASES.values(), ids=RELEASES)


@changes
def test_every_edge_serves_it_and_what_was_before_after_a_rollback(site: Site, first: str, second: str) -> None:
    """The configuration that an edge serves from was made for a release that has other web services, or other ports."""
    before = site.deploy("r1", first)
    after = site.deploy("r2", second)
    assert site.all_serve(after)
    assert commands.rollback(site.at).release == before.id
    assert site.all_serve(before)


@changes
def test_what_fails_on_one_host_leads_every_edge_back(site: Site, first: str, second: str) -> None:
    """Edges that have heard of the next release's upstreams serve the former as before."""
    before = site.deploy("r1", first)
    steps = site.steps("r2", second)
    for number, (step, host) in enumerate((step, host) for step, host in FAILING.items() if step in steps):
        fail_at(site.hosts[host] if host else site.edges[-1], step)
        with pytest.raises(OpsError):
            site.deploy(f"x{number}", second)
        assert site.all_serve(before), step
    assert site.all_serve(site.deploy("r2", second))


@pytest.mark.parametrize("number", range(16))
def test_killed_at_any_step_resume_goes_on_and_abort_goes_back(site: Site, number: int) -> None:
    """The operator dies while some edges have heard of the new upstreams and others have not."""
    first, second = ADDED, RENAMED.replace("port: 8000", "port: 8001")
    before = site.deploy("r1", first)
    fleet, victim = site.fleet("r2", second), site.edges[number // 4 % len(site.edges)]
    victim.kill_at(number, "begin" if number % 2 else "done", Killed)
    with suppress(Killed):  # not every host has so many steps
        applied(fleet, "deploy")
    site.revive()
    assert (
        len({release for own in site.served().values() for release in own.values()} - {before.id, fleet.release.id})
        == 0
    )
    if number % 4 < 2:
        commands.abort(site.at)
    else:
        commands.resume(site.at)
    assert site.all_serve(before) or site.all_serve(fleet.release)
    assert site.all_serve(site.deploy("r3", second))


def test_a_first_deploy_that_failed_is_no_obstacle_to_one_with_other_services(site: Site) -> None:
    """Every edge is left with a configuration for services that never came."""
    fail_at(site.hosts["app1"], "AwaitHealthy")
    with pytest.raises(OpsError, match="did not become healthy"):
        site.deploy("r1", ADDED)
    assert site.all_serve(site.deploy("r2", RENAMED))
