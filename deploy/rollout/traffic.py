"""What the edge serves for a run's release: its route and its files for a generation."""

from __future__ import annotations

from deploy.core.errors import OpsError
from deploy.edge import nginx, switch
from deploy.release.wanted import GENERATION
from deploy.site.run import Run


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
