"""What builds on this machine go by, and the shell does not say: the engine's builder, its platforms, proxies."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.core.shell import docker
from deploy.hosts.local import PLATFORM, LocalHost

BUILDER = "BUILDX_BUILDER"
OWN = "default"  # the engine's own builder, of which alone builds are made
NAMES = {"httpProxy": "http_proxy", "httpsProxy": "https_proxy", "noProxy": "no_proxy"}
LOOPBACK = ("localhost", "127.0.0.1")
Proxies = Mapping[str, str]  # of http_proxy, https_proxy, no_proxy those that are set


@dataclass(frozen=True)
class Builder:
    """What `docker buildx inspect` says of a builder."""

    driver: str = ""
    status: str = ""
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Named:
    """Who names a proxy: this shell, Docker's client for builds and containers, the engine for pulls."""

    shell: Proxies = field(default_factory=dict)
    client: Proxies = field(default_factory=dict)
    engine: Proxies = field(default_factory=dict)


def parsed(printed: str) -> Builder:
    """Read what `docker buildx inspect` printed. Pure."""
    lines = re.findall(r"(?m)^([A-Z]\w+):[ \t]+(.+?)[ \t]*$", printed)
    fields = dict(reversed(lines))
    platforms = tuple(one.strip().rstrip("*") for one in fields.get("Platforms", "").split(",") if one.strip())
    return Builder(fields.get("Driver", ""), fields.get("Status", ""), platforms)


def inspected(host: LocalHost) -> Builder:
    """Look at the engine's own builder; raise Refused where it cannot build."""
    done = host.try_run(docker("buildx", "inspect", OWN), timeout=20)
    then = "docker buildx inspect default says why; systemctl restart docker, or ./scripts/quickstart"
    if done.returncode:
        raise Refused(f"the engine's builder does not answer: {done.output}", then=then, slug="builder-missing")
    builder = parsed(done.stdout)
    if builder.driver != "docker":
        what = f"the builder {OWN} is not the engine's own, but of the driver {builder.driver or 'unknown'}"
        raise Refused(what, then=f"docker buildx rm {OWN}; docker context use default", slug="builder-missing")
    if builder.status != "running":
        raise Refused(f"the engine's builder is {builder.status or 'unknown'}", then=then, slug="builder-missing")
    return builder


def check_builder(host: LocalHost) -> str:
    """Say which builder is taken, and which is not; raise Refused where it cannot build."""
    inspected(host)
    others = [f"{BUILDER}={name} of this shell" for name in [os.environ.get(BUILDER)] if name not in (None, "", OWN)]
    others += [f"{name}, which is selected here," for name in [selected()] if name not in ("", OWN)]
    return "the engine's own" + "".join(f"; {other} is not used" for other in others)


def client_folder() -> Path:
    """Return where Docker's client keeps its configuration."""
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def selected() -> str:
    """Return the builder that somebody selected by `docker buildx use`; empty for none."""
    folder = Path(os.environ.get("BUILDX_CONFIG") or client_folder() / "buildx")
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads((folder / "current").read_text()).get("Name") or "")
    return ""


def check_platform(settings: Settings, host: LocalHost) -> str:
    """Say for which platform images are built; raise Refused where the builder cannot do that."""
    platforms, wanted = inspected(host).platforms, settings.build.platform
    if wanted and wanted not in platforms:
        there = ", ".join(platforms) or "none"
        raise Refused(
            f"build.platform is {wanted}, and the builder has {there}",
            then="apt-get install qemu-user-static binfmt-support, then systemctl restart docker; "
            "or inv build --push on a machine of that platform",
            slug="platform-missing",
        )
    own = wanted or next(iter(platforms), "unknown")
    ignored = os.environ.get(PLATFORM)
    return own + (f"; {PLATFORM}={ignored} of this shell is not read" if ignored and ignored != own else "")


def check_proxies(host: LocalHost) -> str:
    """Say who names which proxy; raise Refused where pulls, builds or containers go another way than they should."""
    info = json.loads(host.run(docker("info", "--format", "{{json .}}"), timeout=20))
    named = Named(of_shell(os.environ), of_client(client_folder() / "config.json", host.endpoint), of_engine(info))
    if wrong := [*faults(named)]:
        then = "; ".join(dict.fromkeys(next_command for _, next_command in wrong))
        raise Refused("\n".join(what for what, _ in wrong), then=then, slug="proxy-differs")
    return shown(named)


def of_shell(environ: Mapping[str, str]) -> Proxies:
    """Return the proxies of a shell, whose names may be in capitals. Pure."""
    own = {name.lower(): value for name, value in environ.items() if value}
    return {name: own[name] for name in NAMES.values() if name in own}


def of_client(file: Path, endpoint: str) -> Proxies:
    """Return the proxies that Docker's client gives to builds and containers; none where its file cannot be read."""
    with suppress(OSError, ValueError, AttributeError):
        proxies: dict[str, Any] = json.loads(file.read_text()).get("proxies") or {}
        own = proxies.get(endpoint) or proxies.get("default") or {}
        return {name: str(own[key]) for key, name in NAMES.items() if own.get(key)}
    return {}


def of_engine(info: Mapping[str, Any]) -> Proxies:
    """Return the proxies that the engine pulls by. Pure."""
    names = {"HttpProxy": "http_proxy", "HttpsProxy": "https_proxy", "NoProxy": "no_proxy"}
    return {name: str(info[key]) for key, name in names.items() if info.get(key)}


def faults(named: Named) -> Iterator[tuple[str, str]]:
    """Yield what does not fit together, each with what puts it right. Pure."""
    used = {name: value for name, value in named.client.items() if name != "no_proxy"}
    for name, value in used.items():
        if address(value).rpartition(":")[0] in (*LOOPBACK, "[::1]"):
            what = f"{name} of Docker's client is {address(value)}: in a container that is the container itself"
            yield (
                what,
                "name it in ~/.docker/config.json by an address that containers reach, as the bridge's, 172.17.0.1",
            )
    missing = [name for name in LOOPBACK if used and name not in re.split(r"[,\s]+", named.client.get("no_proxy", ""))]
    if missing:
        what = (
            f"noProxy of Docker's client lacks {', '.join(missing)}: containers ask themselves, and each other, by it"
        )
        yield what, 'add "noProxy": "localhost,127.0.0.1" and the names of services to proxies in ~/.docker/config.json'
    reached = {name for names in (named.shell, named.client) for name in names if name != "no_proxy"}
    for name in sorted(reached - {*named.engine}):
        yield (
            f"{name} is set here, and the engine pulls without it",
            (
                'put it under "proxies" into /etc/docker/daemon.json ("http-proxy", "https-proxy", "no-proxy"), '
                "then systemctl restart docker"
            ),
        )
    for name in sorted({*named.shell} - {"no_proxy"} - {*named.client}):
        what = f"{name} of this shell is not given to builds"
        yield what, 'put it as "httpProxy", "httpsProxy", "noProxy" under proxies.default into ~/.docker/config.json'


def shown(named: Named) -> str:
    """Say who names which proxy, without passwords. Pure."""
    who = {"shell": named.shell, "builds and containers": named.client, "engine": named.engine}
    lines = [
        f"{name}: {', '.join(f'{key} {address(value)}' for key, value in own.items() if key != 'no_proxy')}"
        for name, own in who.items()
        if {*own} - {"no_proxy"}
    ]
    return "; ".join(lines) or "none"


def address(proxy: str) -> str:
    """Return a proxy's host and port; who logs in there by which password is left out. Pure."""
    split = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return split.netloc.rpartition("@")[2]
