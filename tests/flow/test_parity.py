"""What `local`, `staging` and `prod` are rendered to differs in what is listed here, and in nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from deploy.config.loader import load
from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.edge import frame
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.release import desired, placement

SERVERS = ("staging", "prod")
EVERY = set(Server.model_fields["roles"].default)
# file and path, or line -> why it differs from `local`
DIFFERENCES = {
    "shared.yml /services/edge/ports/0/host_ip": "on a laptop the edge is for nobody else",
    "shared.yml /services/edge/ports/0/published": "8080 is free on a laptop; visitors of a server come to 80",
    "*.yml /services/*/environment/DEBUG_ENDPOINTS": "a person who develops asks the app for its inside",
    "shared.yml /services/*/ports/0": "data that other hosts need is published at a private address",
    "*.yml /services/*/extra_hosts/*": "a host without the data finds it there",
    "*.yml /services/*/labels/bookreader-ops.x-deploy": "of several hosts one alone migrates",
    "shared.yml /services/ops-holder/volumes/*": "a host has the volumes of its own services",
    "shared.yml /services/certificates/*": "a laptop has no name that a server of certificates knows: HTTPS is of servers",
    "*.yml /volumes/certificates/*": "certificates and keys",
    "shared.yml /services/edge/ports/2/*": "the port of HTTPS",
    "shared.yml /services/edge/volumes/3/*": "the edge reads certificates and keys",
    "shared.yml /services/backup/volumes/3/*": "they are in the backups",
    "nginx.conf HTTPS": "listeners, certificate, redirect, and the name by which the toolkit asks behind it",
    "nginx.conf ACME": "who proves names by HTTP answers challenges; staging does, prod has a certificate of its own",
    "nginx.conf server_name *;": "each has a domain of its own",
    "nginx.conf visitors *;": "probes ask by its name",
    "nginx.conf STRANGERS": "who asks a server by another name is let in nowhere; a laptop has many names",
    "nginx.conf default *;": "the port of 80 is in no address",
}
# parts of a configuration that are one difference together, each by where it begins and ends
PURPOSES = {
    "STRANGERS": [r"# whoever asks for another name.*?\n    }",
                  r"server {\n        listen 8443 ssl default_server;.*?\n    }"],
    "ACME": [r"location \^~ /\.well-known/acme-challenge/ {.*?\n        }"],
    "HTTPS": [
        r"# Mozilla's guideline.*?ssl_certificate_key [^\n]*", r"listen 8443 ssl;\n +http2 on;",
        r"# 308, not 301.*?return 308.*?\n        }", r"9180 (https|\$scheme);",
        r"# the same for the toolkit.*?\n    }",
        r'map "\$visitor_scheme:\$upstream_http_strict_transport_security"[^\n]*',
    ],
}  # fmt: skip
Rendered = Mapping[str, str]


def values(document: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Yield each value of a document with its path; hashes of the others say nothing more."""
    items = (
        document.items() if isinstance(document, Mapping) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        if not str(key).endswith(".made-of"):
            yield from values(value, f"{above}/{key}")
    if not items:
        yield above, json.dumps(document)


def lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a configuration, and how often it is there; what serves a purpose together as one."""
    for word, parts in PURPOSES.items():
        for part in parts:
            text = re.sub(f"(?s) +{part}\n", f"{word}\n", text)
    yield from ((line, str(times)) for line, times in Counter(map(str.strip, text.splitlines())).items() if line)


def render(settings: Settings) -> Iterator[tuple[str, Rendered]]:
    """Render everything that each host gets, the environment's own name and state folder replaced by what they are."""
    here, images = LocalHost(), defaultdict[str, str](lambda: "sha256:x")
    model = desired.model(settings, here)
    placed = placement.place(model, settings.hosts) if settings.hosts else {here.name: model}
    for host, own in placed.items():
        files = desired.render_all(settings, own, images, "r1", "ENV", "v")
        files |= {name: file.text for name, file in frame.render(settings).items()}
        found: dict[str, str] = {}
        for name, text in files.items():
            text = text.replace(str(settings.state_dir), "STATE").replace(settings.name, "NAME")
            parts = values(yaml.load_rendered(text)) if name.endswith(".yml") else lines(text)
            found |= {f"{name} {place}": value for place, value in parts}
        yield host, found


def differences(first: Rendered, second: Rendered, *, whole: bool) -> list[str]:
    """Name what differs; a host that has not all roles lacks what is on others, and that is no difference."""
    both = {**first, **second} if whole else second
    return sorted(place for place in both if first.get(place) != second.get(place))


@pytest.fixture
def all_rendered(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What differs from `local`, by environment and host."""
    monkeypatch.setenv(
        "OPS_BUILD__BASES", "public"
    )  # `local` takes what the machine has: its images differ, not the model
    (_, local), *_ = render(load("local"))
    return {
        f"{env}, {host}": differences(local, own, whole={*load(env).hosts[host].roles} == EVERY)
        for env in SERVERS
        for host, own in render(load(env))
    }


def test_servers_run_what_a_laptop_runs_but_for_what_is_listed(all_rendered: dict[str, list[str]]) -> None:
    assert {"staging, app1", "prod, app1", "prod, app2"} <= {*all_rendered}
    listed = {
        where: [place for place in places if not any(fnmatchcase(place, pattern) for pattern in DIFFERENCES)]
        for where, places in all_rendered.items()
    }
    assert listed == {where: [] for where in all_rendered}


def test_what_is_listed_differs(all_rendered: dict[str, list[str]]) -> None:
    places = [place for found in all_rendered.values() for place in found]
    assert [pattern for pattern in DIFFERENCES if not any(fnmatchcase(place, pattern) for place in places)] == []
