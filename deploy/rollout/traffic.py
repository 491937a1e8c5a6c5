"""What the edge serves for a run's release: its route and its files for a generation."""

from __future__ import annotations

from deploy.core.errors import OpsError
from deploy.edge import nginx
from deploy.edge.frame import APP, HEADERS, MAIN, MAINTENANCE, PROXY, ROUTES, File
from deploy.release.desired import GENERATION
from deploy.site.run import Run


def route_to(
    run: Run, colour: str | None, release: str | None, members: tuple[str, ...] = (), *, maintenance: bool = False
) -> nginx.Route:  # fmt: skip
    """Describe a generation that serves a colour of this run's release, with the containers that are there now."""
    web, there = run.release.of("web"), run.host.engine.containers(run.settings.name)
    before = run.edge_folder.route()
    upstreams = nginx.upstreams(run.settings, web, there, members, colour or "", before)
    return nginx.Route(colour, release, maintenance, members, upstreams, nginx.health_paths(web, colour))


def edge_files(run: Run, generation: int, route: nginx.Route, fingerprint: str = "") -> dict[str, File]:
    """Return the files of a generation: the frame with a fingerprint, or the present one, and the release's routes.

    A release of an older toolkit has both in one file.
    """
    whole = nginx.is_whole(run.bundle.files)
    variants = {APP: False, MAINTENANCE: True} if route.colour else {APP: False}
    files = {
        name: numbered(run, nginx.routes_name(route.colour or "none", maintenance=maintenance, whole=whole), generation)
        for name, maintenance in variants.items()
    }
    serves = files[MAINTENANCE if route.maintenance else APP]
    kept = files if route.colour else {}
    if whole:
        return {**kept, MAIN: serves}
    standing = run.edge_folder.read_frame(fingerprint, back=run.going_back)
    # a frame of an older toolkit has not what newer routes include
    included = {
        name: File("") for name in (HEADERS, PROXY) if any(f"include {name};" in f.text for f in files.values())
    }
    return {**included, **standing, **kept, ROUTES: serves}


def numbered(run: Run, name: str, generation: int) -> File:
    """Read a file of the bundle; one of an early toolkit gets its generation's number filled in."""
    text = run.bundle.files.get(name)
    if not text:
        folder = run.state.bundle_folder(run.bundle.release.id)
        raise OpsError(
            f"{name} of the release is gone",
            where=f"{run.host.name}: {folder}",
            then="inv deploy of that commit writes it again",
            slug="bundle-incomplete",
        )
    return File(text.replace(GENERATION, str(generation)))
