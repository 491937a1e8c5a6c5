"""A site on test hosts: an environment of its own in the site's checkout names them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests import load
from tests.machines import Machine
from tests.support.site import ROOT, Done, Site

ENV = "staging"
# what one test machine can bear, for each of three hosts
CLIENTS = load.Scenario(kinds=("get", "new"), paths=("/",), connections=4, rate=40, new_rate=10, minimums={"get": 300})


def name_hosts(
    site: Site, machines: Mapping[str, Machine], key: Path, more: str = "", own: Mapping[str, str] | None = None
) -> None:
    """Write the environment's file; `own` holds further lines of a host's section."""
    lines = ['domain = "localhost"', "[edge]", 'address = "0.0.0.0"', "[build]", 'bases = "debian"']
    lines += ["[ship]", 'by = "ssh"', "[ssh]", f'key_file = "{key}"', more]
    for name, machine in machines.items():
        lines += [
            f"[hosts.{name}]",
            f'address = "{machine.address}"',
            f'key = "{machine.key}"',
            (own or {}).get(name, ""),
        ]
    site.write(f"deploy/environments/{ENV}.toml", "\n".join(lines) + "\n")
    site.commit("hosts")


def inv(site: Site, *words: str, code: int | None = 0, **more: str) -> Done:
    """Run `inv` on the hosts."""
    return site.inv(*words, f"--env={ENV}", code=code, **more)


def killed(site: Site, number: int, state: str, *words: str) -> None:
    """Run `inv` and kill it with -9 just after the journal's line of a step, numbered from 0 over all hosts."""
    argv = [sys.executable, "-m", "tests.support.killed", str(number), state, *words, f"--env={ENV}"]
    ran = subprocess.run(
        argv, cwd=ROOT, env=site.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600
    )
    assert ran.returncode == -9, f"{ran.returncode}\n{ran.stdout}\n{ran.stderr}"


def give_secret(site: Site, word: str) -> None:
    """Make WORD a secret of the app, in a file that git does not keep."""
    site.replace("docker/compose.yml", "    read_only: true", "    env_file: [.env]\n    read_only: true")
    site.write(".gitignore", ".env.*\n!.env.example\n")
    site.write(".env.example", "WORD=<a word>\n")
    quoted = word.replace("\\", "\\\\").replace("'", "\\'")
    site.write(f".env.{ENV}", f"WORD='{quoted}'\n")
    (site.root / f".env.{ENV}").chmod(0o600)


def elsewhere(site: Site, folder: Path) -> Site:
    """The same site from another machine: a clone, without the secrets and what this one keeps in its home."""
    other = Site(folder, app=site.app, extra=dict(site.extra))
    folder.mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(site.root), str(other.root)], check=True, capture_output=True)
    other.port, other.probe_port = site.port, site.probe_port
    return other


def served(site: Site, machines: Mapping[str, Machine], path: str = "/version") -> dict[str, str]:
    """Which release each host answers with."""
    return {
        name: json.loads(site.get(path, address=machine.address)[1])["release"] for name, machine in machines.items()
    }


@contextmanager
def under_load(
    site: Site, machines: Mapping[str, Machine], scenario: load.Scenario = CLIENTS
) -> Iterator[dict[str, load.Clients]]:
    """Clients on every host at once."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(load.during(f"http://{machine.address}:{site.port}", scenario))
            for name, machine in machines.items()
        }
