"""nginx's configuration as a pure function of what should be served."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.compose import Service
from deploy.errors import Refused
from deploy.model import BEHIND, COLOURS, Container, ReleasedService
from deploy.settings import ROOT, Settings

if TYPE_CHECKING:
    from jinja2 import Environment

# keepalive_min_timeout came with it; `resolve` in upstreams one release earlier
OLDEST = (1, 27, 4)


@dataclass(frozen=True)
class Route:
    """What the edge serves: the colour and the release that it names, on which containers, or a page that says it will be back."""

    colour: str | None = None
    release: str | None = None
    maintenance: bool = False
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Upstream:
    """One service in one colour, as nginx names it."""

    service: str
    colour: str
    port: int

    @property
    def name(self) -> str:
        """The upstream's name in the configuration."""
        return f"{self.service}_{self.colour}"


def render(settings: Settings, web: Iterable[Service], generation: int | str, route: Route) -> str:
    """Render one generation of the edge's configuration."""
    from jinja2 import TemplateError

    template, web = settings.root / settings.nginx, tuple(web)
    upstreams = [Upstream(service.name, colour, service.deploy.port or 80) for service in web for colour in COLOURS]
    live = {upstream.service: upstream.name for upstream in upstreams if upstream.colour == route.colour}
    asked = [f"/{route.colour}/{service.name}{service.deploy.health}" for service in web] if route.colour else []
    try:
        page = templates(template.parent).get_template("maintenance.html").render()
        return templates(template.parent).get_template(template.name).render(
            generation=generation, colour=route.colour, release=route.release, upstreams=upstreams, live=live, asked=asked,
            maintenance=quoted(page) if route.maintenance else "",
            domain=settings.domain,
        )  # fmt: skip
    except TemplateError as error:
        raise Refused(f"the edge's template cannot be rendered: {error}", where=settings.nginx, then=f"mend {settings.nginx}") from None


@cache
def templates(folder: Path) -> Environment:
    """Return what reads the templates of a folder, and of the toolkit where it has none: an app may bring its routes alone."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(loader=FileSystemLoader([folder, ROOT / "nginx"]), undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701  # not HTML


def upstreams(settings: Settings, web: Iterable[ReleasedService], there: Iterable[Container], members: Collection[str], live: str) -> str:
    """Render a generation's upstreams: in each colour the replicas that are there or will be; in the live one just its members.

    Each replica is a server by its container's name, so that one can be taken out and drained. nginx carries the
    addresses that it knows over a reload, by name: an upstream must not get new names alone, or it is empty for a moment.
    """
    blocks, known = [], tuple(there)
    for service in web:
        for colour in COLOURS:
            upstream = Upstream(service.name, colour, service.deploy.port or 80)
            named = [c.name for c in known if c.service == service.name and c.name in members] if colour == live else []
            idle = [c.name for c in known if (c.service, c.colour) == (service.name, colour)]
            idle += [replica(settings, service.name, colour, n + 1) for n in range(service.replicas)]
            servers = "".join(f"    server {name}:{upstream.port} resolve max_fails=0;\n" for name in dict.fromkeys(named or idle))
            servers += "".join(f"    server {place} max_fails=0;\n" for place in behind(service, colour))
            blocks.append(f"upstream {upstream.name} {{\n    zone {upstream.name} 256k;\n{servers}    keepalive 32;\n}}\n")
    return "".join(blocks)


def behind(service: ReleasedService, colour: str) -> tuple[str, ...]:
    """Return where a service's colour is on other hosts: `address:port`."""
    return tuple(f"{address}:{(service.deploy.port or 80) + BEHIND[colour]}" for address in service.behind)


def replica(settings: Settings, service: str, colour: str, number: int) -> str:
    """Return the name that Compose gives a replica's container."""
    return f"{settings.name}-{colour}-{service}-{colour}-{number}"


def quoted(page: str) -> str:
    """Write HTML so that it can stand between single quotes in a configuration; nginx reads `$` as a variable's beginning."""
    return " ".join(page.split()).replace("\\", "&#92;").replace("'", "&#39;").replace("$", "&#36;")


def folder(settings: Settings) -> Path:
    """Where the edge's configuration lives on the host; mounted into the edge as a folder, since a renamed file is not seen."""
    return settings.state_dir / "edge"


def generation_folder(generation: int) -> str:
    """One generation's place, relative to the edge's folder."""
    return f"generations/{generation}"


def version(said: str) -> tuple[int, ...]:
    """Read `nginx version: nginx/1.30.6` as (1, 30, 6); () when it is not one."""
    number = re.search(r"\bnginx/(\d+(?:\.\d+)*)", said)
    return tuple(int(part) for part in number[1].split(".")) if number else ()
