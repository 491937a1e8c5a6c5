"""The kinds of texts that settings hold: what each must be like, in words."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

from deploy.core.model import must
from deploy.hosts.sections import like

Shell = Annotated[str, like(r"[^\x00]*", "it must not hold a NUL character")]
Name = Annotated[
    str,
    like(r"[a-z][a-z0-9-]{0,30}", "it must be lower-case letters, digits and hyphens, a letter first, 31 at most"),
]
EnvName = Annotated[
    str,
    like(r"[a-z0-9][a-z0-9_-]*", "it must be lower-case letters, digits, _ and -, a letter or digit first"),
]
LABEL = r"[\w-]{1,63}"
# nginx reads the setting as it stands: a star is the first or last label, a dot before a name takes all below it too
SERVED = rf"(?=[^ ]{{1,253}}(?: |$))(?:\*?\.)?{LABEL}(?:\.{LABEL})*(?:\.\*)?"
Domain = Annotated[
    str,
    like(
        rf"(?a){SERVED}(?: {SERVED})*",
        "it must be a name as in books.example.org, of 253 characters at most and 63 between its dots; "
        "several have a space between them",
    ),
]
# one of version 6 may stand in brackets, as Compose has it
Numeric = Annotated[
    str,
    must(
        lambda address: ip_address(address.removeprefix("[").removesuffix("]")),
        "it must be an IP address of the host, or 0.0.0.0 for all of them",
    ),
]
Hostname = Annotated[
    str,
    like(
        rf"(?a)(?=.{{1,253}}$)({LABEL}\.)*{LABEL}",
        "it must be one name as in www.example.org, without a wildcard or a port",
    ),
]
# as nginx and nftables take it: neither a netmask nor the scope of an address
Network = Annotated[
    str,
    must(
        lambda net: re.fullmatch(r"[\da-fA-F:.]+(/\d+)?", net) and ip_network(net, strict=True),
        "it must be an address or a network as in 10.0.0.0/8",
    ),
]
WIDEST = {4: 8, 6: 7}  # the private networks 10.0.0.0/8 and fc00::/7
Proxies = Annotated[
    Network,
    must(
        lambda net: ip_network(net).prefixlen >= WIDEST[ip_network(net).version],
        "it is nearly everybody; it must be where the balancer or CDN connects from, a /8 or fc00::/7 at most",
    ),
]
UrlPrefix = Annotated[
    str, like(r"/[\w./~-]*", "it must be the beginning of a path, as in /api/, of letters, digits and . _ ~ - /")
]
Folder = Annotated[
    Path,
    must(Path.is_absolute, "it must begin with /"),
    must(lambda path: path.parts[1:], "it must be a folder of its own"),
]
Templates = Annotated[
    str,
    like(
        r"(?!.*\.j2$).+",
        'it is a folder now, which holds frame.conf.j2, routes.conf.j2 or site.conf.j2, as in nginx = "nginx"',
    ),
]
Registry = Annotated[
    str,
    like(
        r"([a-zA-Z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?)?",
        "it must be a registry and a path, as in registry.example.org/team",
    ),
]
PublicKey = Annotated[
    str,
    like(r"age1[0-9a-z]+|ssh-(ed25519|rsa) \S+.*", "it must be a public key: age1..., or ssh-ed25519 AAAA..."),
]
Clock = Annotated[str, like(r"([01]\d|2[0-3]):[0-5]\d", "it must be a time of day, as in 03:00, UTC")]
SecretName = Annotated[str, like(r"([A-Z][A-Z0-9_]*)?", "it must be the name of a secret, as in STAGING_LOGIN")]
