"""One fault of bad_input.toml: how it is tried on a site, and what must be as it was afterwards."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.site import ROOT, SWEPT, Site, docker

CASES: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent.parent / "bad_input.toml").read_text())
APP = "deploy/app.toml"
LOCAL = "deploy/environments/local.toml"
COMPOSE = "docker/compose.yml"
DOCKERFILE = "docker/app.Dockerfile"
BAKE = "docker/bake.hcl"
TEMPLATE = "nginx/site.conf.j2"


@dataclass(frozen=True)
class Snapshot:
    """What must not change: the release and generation that serve, what runs, what was deployed."""

    version: str
    generation: str
    running: tuple[str, ...]
    everything: tuple[str, ...]
    ledger: str


def look(site: Site) -> Snapshot:
    """Look at a site past the toolkit: over HTTP, at the engine, on the disk."""
    shown = docker(
        "ps",
        "--all",
        "--no-trunc",
        "--filter",
        f"label={SWEPT}={site.app}",
        "--format",
        "{{.State}} {{.ID}} {{.Names}}",
    )
    everything = tuple(sorted(shown.splitlines()))
    ledger = site.state / "ledger.jsonl"
    return Snapshot(
        version=site.get("/version")[1],
        generation=site.get("/generation", site.probe_port)[1],
        running=tuple(line for line in everything if line.startswith("running ")),
        everything=everything,
        ledger=ledger.read_text() if ledger.exists() else "",
    )


@dataclass
class Bad:
    """One entry of the list, and the site that it is tried on."""

    name: str
    site: Site
    release: str
    met: bool = False

    @property
    def case(self) -> dict[str, Any]:
        """What the list says of this fault."""
        return CASES[self.name]

    def meets(self, *words: str, site: Site | None = None, under: tuple[str, ...] = (), **variables: str) -> str:
        """Run `inv` and compare exit code and message with the list; return what the person read."""
        target = site or self.site
        argv = [*under, sys.executable, "-m", "invoke", *words]
        environment = {**target.environment, **variables}
        ran = subprocess.run(
            argv, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120
        )
        output = ran.stderr
        assert ran.returncode == self.case["code"], f"ended with {ran.returncode}\n{ran.stdout}\n{output}"
        assert f'File "{ROOT}' not in output, f"a traceback of the toolkit:\n{output}"
        assert ran.returncode != 2 or "building images" not in output, f"refused after work was done:\n{output}"
        cause, where, serves, then = parts(output) if ran.returncode else (output, "", "", "")
        for wanted in self.case["cause"]:
            assert wanted in cause, f"{wanted!r} is not in the cause:\n{output}"
        for found, key in ((where, "where"), (serves, "serves"), (then, "next")):
            expected = self.case.get(key, "").replace("{release}", self.release)
            assert expected in found, f"{key}: should have {expected!r}:\n{output}"
        self.met = True
        return output

    def spoil(self, path: str, old: str, new: str) -> None:
        """Change a file of the checkout and commit it."""
        self.site.replace(path, old, new)
        self.site.commit("bad")


def parts(message: str) -> tuple[str, str, str, str]:
    """Take a message apart: cause, where, serves, next."""
    cause, _, rest = message.rpartition("\n  where:")
    where, _, rest = rest.partition("\n  serves:")
    serves, _, then = rest.partition("\n  next:")
    assert where.strip(), f"no where:\n{message}"
    assert serves.strip(), f"no serves:\n{message}"
    assert then.strip(), f"no next:\n{message}"
    return cause, where, serves, then


@contextmanager
def without_git(site: Site) -> Iterator[None]:
    """Take .git away for a while."""
    away = site.folder / "git-away"
    (site.root / ".git").rename(away)
    try:
        yield
    finally:
        away.rename(site.root / ".git")
