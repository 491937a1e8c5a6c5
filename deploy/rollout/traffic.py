"""What the edge serves: its files for a generation, and the switch to them."""

from __future__ import annotations

from dataclasses import replace

from deploy.core.errors import OpsError
from deploy.core.model import upstream_name
from deploy.edge import nginx, switch
from deploy.release.wanted import GENERATION
from deploy.rollout import steps
from deploy.rollout.turns import replicas
from deploy.site import facts
from deploy.site.run import Run


def register_colour(step: steps.RegisterColour, run: Run) -> None:
    """Let the edge know a colour's upstreams, and prove through it that visitors are served by that generation."""
    route = route_to(run, None, None)
    names = [upstream_name(service, step.colour) for service in step.services]
    switch.register(run.settings, run.host, run.edge, step.generation, {name: route.upstreams[name] for name in names})


def switch_traffic(step: steps.Switch, run: Run) -> None:
    """Move traffic, and prove through the edge that it did."""
    there = run.containers(step.colour, [s.name for s in run.release.of("web")]) if step.colour else ()
    new = {s: replicas(s.name, there)[: s.replicas] for s in run.release.of("web")}
    own = [c.name for found in new.values() for c in found]
    route = route_to(run, step.colour, step.release, (*own, *step.beside), maintenance=step.maintenance)
    if step.beside:  # the others may not answer to the path by which this release is asked
        route = replace(route, health=tuple(nginx.replica_path(s, found[0].name) for s, found in new.items() if found))
    if run.release.of("edge"):
        files = edge_files(run, step.generation, route)
        switch.switch(run.settings, run.host, run.edge, files, step.generation, route)
    else:  # a host of workers or data, where several have an edge: what is in service is written down, and nobody asks there
        switch.write(run.settings, run.host, {}, step.generation, route)
        switch.point(run.settings, run.host, nginx.generation_folder(step.generation), switch.CURRENT, switch.PROVEN)


def turn_page(step: steps.TurnPage, run: Run) -> None:
    """Turn the maintenance page on or off by the files that the edge serves from, whatever became of the release's own."""
    files, route = switch.proven(run.settings, run.host)
    if {switch.APP, switch.MAINTENANCE} - files.keys():  # an older version of this toolkit wrote that generation
        files = edge_files(run, step.generation, route)
    switch.turn_page(run.settings, run.host, run.edge, files, step.generation, on=step.on)


def see_switched(step: steps.SeeSwitched, run: Run) -> None:
    """Ask the host in front what its edge serves; raise OpsError unless it is what is wanted here."""
    known = facts.edge(run.settings, run.host, ())
    if (known.colour, known.release) != (step.colour, step.release):
        told = f"the edge serves {known.release or 'nothing'} ({known.colour}), not {step.release or 'nothing'} ({step.colour})"
        raise OpsError(told, where=step.front, then="inv status, then inv deploy")


def route_to(
    run: Run, colour: str | None, release: str | None, members: tuple[str, ...] = (), *, maintenance: bool = False
) -> nginx.Route:  # fmt: skip
    """Describe a generation that serves a colour of this run's release, with the containers that are there now."""
    web, there = run.release.of("web"), run.host.engine.containers(run.settings.name)
    before = switch.route_of(run.settings, run.host)
    upstreams = nginx.upstreams(run.settings, web, there, members, colour or "", before)
    return nginx.Route(colour, release, maintenance, members, upstreams, nginx.health_paths(web, colour))


def edge_files(run: Run, generation: int, route: nginx.Route) -> dict[str, str]:
    """Return the release's own part of the edge's configuration: both of its variants, and as nginx.conf the one that serves."""
    if not route.colour:
        return {switch.SERVES: numbered(run, "edge.none.conf", generation)}
    files = {
        switch.APP: numbered(run, f"edge.{route.colour}.conf", generation),
        switch.MAINTENANCE: numbered(run, f"edge.{route.colour}.maintenance.conf", generation),
    }
    return {**files, switch.SERVES: files[switch.MAINTENANCE if route.maintenance else switch.APP]}


def numbered(run: Run, name: str, generation: int) -> str:
    """Read a file of the bundle; one that an older version of this toolkit has rendered answers with its generation itself."""
    text = run.bundle.files.get(name)
    if not text:
        folder = run.state.bundle_folder(run.bundle.release.id)
        raise OpsError(
            f"{name} of the release is gone", where=f"{run.host.name}: {folder}", then="inv deploy of that commit writes it again"
        )
    return text.replace(GENERATION, str(generation))
