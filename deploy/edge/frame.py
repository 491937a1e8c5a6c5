"""The frame of the edge's configuration: listeners, limits and log format, which belong to the host and to no release.

Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.config.sections import Tls
from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.core.model import WHOLE
from deploy.edge import login
from deploy.edge.nginx import rendered

# what nginx reads first, and what the release that serves brings; an older toolkit wrote both as one file
MAIN, ROUTES = "nginx.conf", "routes.conf"
# the two variants of a release's routes, of which routes.conf is a copy of one
APP, MAINTENANCE = "app.conf", "maintenance.conf"
# what routes may include, so that one more header does not drop the others
HEADERS, PROXY = "headers.conf", "proxy.conf"
# hashes of passwords, which the edge's account must be able to read
LOGINS = "logins"
# what holds no key, of which every toolkit knows the mode; how what may hold one is kept
PUBLIC, PRIVATE = (MAIN, ROUTES, APP, MAINTENANCE), 0o600
# https://ssl-config.mozilla.org/guidelines/6.0.json, intermediate
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
# by this name the toolkit asks, on the inner listener, for what visitors get
VISITORS = "visitors"
TEMPLATES = {MAIN: "frame.conf", HEADERS: HEADERS, PROXY: PROXY}
# what balancers and servers of ACME ask for, which come back or not, never later; no limit counts that
UNLIMITED = r"(?!/edge-health$|/\.well-known/acme-challenge/)"
# a template of an older toolkit: frame and routes in one
RETIRED = "edge.conf.j2"


@dataclass(frozen=True)
class File:
    """A file of a generation; one that holds a key has mode 0600."""

    text: str
    mode: int = 0o644


Files = Mapping[str, File]


def render(settings: Settings) -> dict[str, File]:
    """Render the frame for a host.

    Raise Refused where its template is wrong, or one of an older toolkit is still there.
    """
    if (settings.root / settings.nginx / RETIRED).exists():
        then = f"move its locations to {settings.nginx}/site.conf.j2 and the rest to {settings.nginx}/frame.conf.j2"
        raise Refused(
            f"{RETIRED} is read no more", where=f"{settings.nginx}/{RETIRED}", then=then, slug="edge-config-invalid"
        )
    values = values_of(settings)
    files = {name: rendered(settings, f"{own}.j2", **values) for name, own in TEMPLATES.items()}
    # an app's own frame has not the variables of what it does not include; its routes may all the same
    used = {name: text for name, text in files.items() if name == MAIN or f"include {name};" in files[MAIN]}
    logins = {LOGINS: File(login.htpasswd(settings))} if settings.edge.login else {}
    return {**{name: File(used.get(name, "")) for name in files}, **logins}


def values_of(settings: Settings) -> dict[str, object]:
    """Return what the templates of a frame are filled with."""
    edge, tls = settings.edge, settings.tls
    return {
        "domain": settings.domain,
        "edge": edge,
        "tls": tls,
        "visitor": visitor(settings),
        "ciphers": ":".join(CIPHERS),
        # a certificate for tries takes plain HTTP away from nobody
        "redirects": has_real_certificate(tls),
        "hsts": f"max-age={tls.hsts_seconds}" if has_real_certificate(tls) else "",
        "port_of_http": suffix(edge.port, 80),
        "port_of_https": suffix(edge.tls_port, 443) if tls.by else "",
        "issuer": issuer(settings),
        "limits": [Limit(path, number) for path, number in edge.limits.items()],
        "retry_after": max((math.ceil(60 / number) for number in edge.limits.values()), default=1),
        "logins": LOGINS,
        "is_closed": all(is_public(name) for name in settings.domain.split()),
    }


def issuer(settings: Settings) -> str:
    """Return where the other edges reach the one that obtains the certificate, as in 10.0.0.1:80; empty with one."""
    return place(settings, settings.issuer) if settings.issuer else ""


def followers(settings: Settings) -> list[str]:
    """Return where the edge that obtains the certificate for all reaches the others."""
    names = [name for name, server in settings.hosts.items() if "edge" in server.roles and name != settings.issuer]
    return [f"http://{place(settings, name)}" for name in names] if settings.issuer else []


def place(settings: Settings, name: str) -> str:
    """Return where other hosts reach an edge by plain HTTP."""
    server = settings.hosts[name]
    address = server.private or server.address
    return f"{f'[{address}]' if ':' in address else address}:{settings.edge.port}"


def visitor(settings: Settings) -> str:
    """Return a name by which visitors ask for the site."""
    name = settings.edge.canonical or settings.domain.split()[0]
    return re.sub(r"^(\*?\.)", "www.", name) if is_public(name) else name if name != "_" else "localhost"


def asked_at(settings: Settings) -> tuple[int, str]:
    """Return the port, on the host's loopback, and the name by which the toolkit gets what visitors get."""
    return (settings.edge.probe_port, VISITORS) if settings.tls.by else (settings.edge.port, visitor(settings))


def is_public(name: str) -> bool:
    """Tell whether a name of the domain is one of the DNS: not localhost, no address, not any."""
    return "." in name and not re.fullmatch(r"[\d.]+", name)


def has_real_certificate(tls: Tls) -> bool:
    """Tell whether browsers trust the certificate, so that they may be held to HTTPS."""
    return tls.by == "file" or (tls.by == "acme" and "staging" not in tls.server)  # also written as an address


def suffix(port: int, usual: int) -> str:
    """Write a port as an address has it; nothing for the usual one."""
    return "" if port == usual else f":{port}"


@dataclass(frozen=True)
class Limit:
    """How many requests below a path one address may send in a minute; all at once, if they have waited so long."""

    path: str
    number: int

    @property
    def pattern(self) -> str:
        """The path as a regular expression."""
        return UNLIMITED + re.escape(self.path)

    @property
    def burst(self) -> str:
        """The words by which nginx lets them come at once."""
        return f" burst={self.number - 1} nodelay" if self.number > 1 else ""


def fingerprint(frame: Files) -> str:
    """Hash a frame."""
    text = json.dumps({name: file.text for name, file in frame.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own(files: Files) -> dict[str, File]:
    """Return the frame among the files of a generation: all but its routes."""
    return {name: file for name, file in files.items() if name not in (ROUTES, APP, MAINTENANCE)}


def name_of(files: Files) -> str:
    """Name the frame of a generation by its hash.

    WHOLE where frame and routes are one file, empty where there is no edge.
    """
    return fingerprint(own(files)) if ROUTES in files else WHOLE if files else ""
