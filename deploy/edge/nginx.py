"""nginx's configuration as a pure function of what should be served."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field

from deploy.config.compose import Service
from deploy.config.settings import ROOT, Settings
from deploy.core.errors import Refused
from deploy.core.facts import Container
from deploy.core.model import COLOURS, WHOLE, Kept, ReleasedService, upstream_name
from deploy.state import kept

if TYPE_CHECKING:
    from jinja2 import Environment

# keepalive_min_timeout came with it; `resolve` in upstreams one release earlier
OLDEST = (1, 27, 4)


@dataclass(frozen=True)
class Route:
    """What one generation of the edge serves, and every upstream that it knows, served or not.

    `upstreams`: name -> `host:port` of its servers. `health`: the inner listener's path of each web service that
    serves. `frame`: what its frame hashes to. `former`: the last generation that had another one; 0 for none. `modes`:
    of the files besides frame and routes, such as keys.
    """

    colour: str | None = None
    release: str | None = None
    maintenance: bool = False
    members: tuple[str, ...] = ()
    upstreams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    health: tuple[str, ...] = ()
    frame: str = ""
    former: int = 0
    modes: Mapping[str, int] = field(default_factory=dict)

    def dump(self, generation: int) -> str:
        """Write it down beside the configuration that it describes."""
        return kept.dump(RouteRecord(generation=generation, **asdict(self)))

    @property
    def served(self) -> tuple[object, ...]:
        """What visitors notice: two generations that are equal in this answer the same."""
        return self.colour, self.release, self.maintenance, self.members, self.frame


class Generation(NamedTuple):
    """One generation of the edge's configuration: its number, and what it serves."""

    number: int
    route: Route


class RouteRecord(Kept):
    """A route as `route.json` has it; an older toolkit wrote no frame."""

    generation: int
    colour: Literal["blue", "green"] | None
    release: str | None
    maintenance: bool
    members: tuple[str, ...] = ()
    upstreams: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)
    health: tuple[str, ...] = ()
    frame: str = WHOLE
    former: int = 0
    modes: Mapping[str, int] = Field(default_factory=dict)


def read_route(text: str | None) -> Generation | None:
    """Read a generation's number and what it serves; None when it is missing or damaged.

    Raises kept.NewerFormat where a newer toolkit wrote it, and this one cannot read it.
    """
    try:
        record = kept.load(RouteRecord, text or "")
    except kept.NewerFormat:
        raise
    except ValueError:
        return None
    return Generation(record.generation, Route(**{each.name: getattr(record, each.name) for each in fields(Route)}))


def read_generated(inner: str, upstreams: str) -> Generation | None:
    """Read the same, but for the frame, from what nginx itself has read; None when that is missing or damaged."""
    answer = re.search(r"return 200 '({.*})';", inner)
    try:
        answer_json = json.loads(answer[1]) if answer else {}
    except ValueError:
        return None
    blocks = re.findall(r"^upstream (\S+) {(.*?)^}", upstreams, re.MULTILINE | re.DOTALL)
    upstream_servers = {name: re.findall(r"^\s*server ([^\s;]+)", block, re.MULTILINE) for name, block in blocks}
    live = (
        place
        for name, servers in upstream_servers.items()
        if name.endswith(f"_{answer_json.get('colour')}")
        for place in servers
    )
    members = [place.rpartition(":")[0] for place in live if resolve(place)]
    health = re.findall(r"auth_request (\S+);", inner)
    serving = {"colour": answer_json.get("colour") or None, "release": answer_json.get("release") or None}
    return read_route(
        json.dumps(
            {**answer_json, **serving, "members": members, "upstreams": upstream_servers, "health": health, "frame": ""}
        )
    )


@dataclass(frozen=True)
class Upstream:
    """One service in one colour, as nginx names it."""

    service: str
    colour: str

    @property
    def name(self) -> str:
        """The upstream's name in the configuration."""
        return upstream_name(self.service, self.colour)


def render(settings: Settings, web: Iterable[Service], route: Route) -> str:
    """Render the routes, which visitors reach: a part of the release."""
    live = {service.name: Upstream(service.name, route.colour).name for service in web} if route.colour else {}
    page = quoted(rendered(settings, "maintenance.html")) if route.maintenance else ""
    return rendered(
        settings, "routes.conf.j2",
        colour=route.colour, release=route.release, live=live, maintenance=page, domain=settings.domain,
    )  # fmt: skip


def rendered(settings: Settings, template: str, **values: object) -> str:
    """Render one template of the app, or of the toolkit where the app has none; raise Refused where it is wrong."""
    from jinja2 import TemplateError, UndefinedError

    try:
        return templates(settings.root / settings.nginx).get_template(template).render(values)
    except TemplateError as error:
        then = f"fix {settings.nginx}/*.j2, then inv plan"
        live = values.get("live")
        dashed = [name for name in live if "-" in name] if isinstance(live, dict) else []
        if dashed and isinstance(error, UndefinedError):
            then = f'write {{{{ live["{dashed[0]}"] }}}}: a dot takes no name with a hyphen; {then}'
        raise Refused(
            f"the edge's template cannot be rendered: {error}",
            where=f"{settings.nginx}/{failing(error) or template}",
            then=then,
            slug="edge-config-invalid",
        ) from None


def failing(error: Exception) -> str:
    """Return the template of the app in which rendering failed, the innermost; empty where a trace shows none."""
    files = [Path(frame.filename).name for frame in extract_tb(error.__traceback__) if frame.filename.endswith(".j2")]
    return files[-1] if files else ""


def routes_name(colour: str, *, maintenance: bool = False, whole: bool = False) -> str:
    """Name a variant of a release's routes in its bundle.

    `whole`: as an older toolkit did, whose file held the frame as well.
    """
    return f"{'edge' if whole else 'routes'}.{colour}{'.maintenance' if maintenance else ''}.conf"


def is_whole(bundled: Collection[str]) -> bool:
    """Tell whether a bundle was rendered by an older toolkit: frame and routes in one file."""
    return any(name.startswith("edge.") for name in bundled) and not any(name.startswith("routes.") for name in bundled)


@cache
def templates(folder: Path) -> Environment:
    """Return what reads the templates of a folder, or the toolkit's: an app may bring its routes alone."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([folder, ROOT / "nginx"])
    return Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701  # not HTML


def generated(generation: int, route: Route) -> dict[str, str]:
    """Render what belongs to one generation and to no release: its upstreams and its inner listener."""
    entries = [Upstream(*name.rsplit("_", 1)) for name in route.upstreams]
    inner = (
        templates(ROOT / "nginx")
        .get_template("inner.conf.j2")
        .render(
            generation=generation,
            colour=route.colour,
            release=route.release,
            maintenance=route.maintenance,
            upstreams=entries,
            health=() if route.maintenance else route.health,
        )
    )
    return {
        "inner.conf": inner,
        "upstreams.conf": "".join(block(name, servers) for name, servers in route.upstreams.items()),
    }


def block(name: str, servers: Iterable[str]) -> str:
    """Render one upstream; a container's name is resolved again and again, an address never changes."""
    lines = "".join(f"    server {place}{resolve(place)} max_fails=0;\n" for place in servers)
    return f"upstream {name} {{\n    zone {name} 256k;\n{lines}    keepalive 32;\n}}\n"


def resolve(place: str) -> str:
    """Return nginx's word for a server that is a name; none for an address."""
    return "" if re.fullmatch(r"[\d.]+:\d+", place) else " resolve"


def upstreams(
    settings: Settings,
    web: Iterable[ReleasedService],
    there: Collection[Container],
    members: Collection[str],
    live: str,
    before: Route = Route(),  # frozen
) -> dict[str, tuple[str, ...]]:
    """Name a release's upstreams and their servers: in each colour the replicas that are there or will be.

    In the live one its members. Each replica is a server by its container's name, so that one can be taken out and
    drained. nginx carries the addresses that it knows over a reload, by name: an upstream must not get new names alone,
    or it is empty for a moment. A member that the generation `before` named keeps its port: it may be of a release that
    listens on another.
    """
    live_before = (servers for name, servers in before.upstreams.items() if name.endswith(f"_{before.colour}"))
    ports = {server.rpartition(":")[0]: server for servers in live_before for server in servers}
    servers_of = {}
    for service in web:
        for colour in COLOURS:
            port = service.deploy.port or 80
            if colour == live and (named := [c.name for c in there if c.service == service.name and c.name in members]):
                servers = [
                    ports.get(name, f"{name}:{port}") if name in before.members else f"{name}:{port}" for name in named
                ]
            else:
                servers = idle(settings, service, colour, there)
            servers_of[upstream_name(service.name, colour)] = tuple(
                dict.fromkeys([*servers, *service.behind_at(colour)])
            )
    return servers_of


def idle(settings: Settings, service: ReleasedService, colour: str, there: Iterable[Container]) -> list[str]:
    """Name a service's servers in a colour that does not serve: what is there, and what will be."""
    names = [c.name for c in there if (c.service, c.colour) == (service.name, colour)]
    names += [replica(settings, service.name, colour, number + 1) for number in range(service.replicas)]
    return [f"{name}:{service.deploy.port or 80}" for name in names]


def replica(settings: Settings, service: str, colour: str, number: int) -> str:
    """Return the name that Compose gives a replica's container."""
    return f"{settings.name}-{colour}-{service}-{colour}-{number}"


def health_paths(web: Iterable[ReleasedService], colour: str | None) -> tuple[str, ...]:
    """Return where the inner listener asks each web service of a colour for its health."""
    return tuple(f"/{colour}/{service.name}{service.deploy.health}" for service in web) if colour else ()


def replica_path(service: ReleasedService, name: str) -> str:
    """Return where the inner listener asks one replica for its health."""
    return f"/replica/{name}:{service.deploy.port or 80}{service.deploy.health}"


def quoted(page: str) -> str:
    """Write HTML so that it can stand between single quotes in a configuration.

    Nginx reads `$` as a variable's beginning.
    """
    return " ".join(page.split()).replace("\\", "&#92;").replace("'", "&#39;").replace("$", "&#36;")


def version(printed: str) -> tuple[int, ...]:
    """Read `nginx version: nginx/1.30.6` as (1, 30, 6); () when it is not one."""
    number = re.search(r"\bnginx/(\d+(?:\.\d+)*)", printed)
    return tuple(int(part) for part in number[1].split(".")) if number else ()
