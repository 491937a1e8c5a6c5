"""A site of its own for a test: a checkout, an app name, ports, a state folder, on the real engine."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "apps" / "tiny"
TEMPLATE = ROOT / "tests" / "apps" / "template"
SWEPT = "bookreader-ops.app"
PORTS = 2000  # for each worker
IMAGES = re.compile(r'(\bimage: |\btags *= *\[")(?:bookreader|tiny)/')


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


@dataclass
class Site:
    """A checkout in a temporary folder and how to run `inv` on it."""

    folder: Path
    app: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:8]}")
    extra: dict[str, str] = field(default_factory=lambda: {"OPS_ROLLOUT__WATCH": "0"})
    within: float = 600  # seconds that a command may take

    @property
    def root(self) -> Path:
        """The checkout."""
        return self.folder / "checkout"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state" / f"{self.app}-local"

    @cached_property
    def port(self) -> int:
        """A free port for the edge."""
        return free_port()

    @cached_property
    def probe_port(self) -> int:
        """A free port for the edge's inner listener."""
        return free_port()

    @property
    def url(self) -> str:
        """Where the site is served."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this site's commands."""
        own = {
            "OPS_ROOT": str(self.root), "OPS_APP": self.app, "XDG_STATE_HOME": str(self.folder / "state"),
            "OPS_EDGE__PORT": str(self.port), "OPS_EDGE__PROBE_PORT": str(self.probe_port),
        }  # fmt: skip
        return {**os.environ, **own, **self.extra}

    def inv(self, *words: str, code: int | None = 0, **more: str) -> Done:
        """Run `inv`; fail the test unless it ends with this code."""
        argv = [sys.executable, "-m", "invoke", *words]
        ran = subprocess.run(
            argv,
            cwd=ROOT,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=self.within,
        )
        assert code is None or ran.returncode == code, (
            f"inv {' '.join(words)} ended with {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        )
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def killed(self, number: int, state: str, *words: str) -> str:
        """Run `inv` and kill it with -9 just after the journal's line of a step, numbered from 0.

        Return that step's name.
        """
        argv = [sys.executable, "-m", "tests.support.killed", str(number), state, *words]
        ran = subprocess.run(
            argv, cwd=ROOT, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600
        )
        assert ran.returncode == -signal.SIGKILL, (
            f"step {number} ({state}) was not hit: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        )
        last = json.loads((self.state / "journal.jsonl").read_text().splitlines()[-1])
        assert last["state"] == state
        return str(last["step"])

    def git(self, *words: str) -> str:
        """Run git in the checkout."""
        who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def commit(self, message: str = "change") -> None:
        """Commit everything in the checkout."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def write(self, path: str, text: str) -> None:
        """Write a file of the checkout."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        """Change a file of the checkout."""
        text = (self.root / path).read_text()
        assert old in text, f"{old!r} is not in {path}"
        (self.root / path).write_text(text.replace(old, new))

    def name_images(self) -> None:
        """Give the app's images the site's own names: of two builds of one name at once, one loses its image."""
        for path in (self.root / "docker").glob("*"):
            if path.suffix in (".hcl", ".yml"):
                path.write_text(IMAGES.sub(rf"\g<1>{self.app}/", path.read_text()))
        self.commit("images of our own")

    def get(self, path: str, port: int | None = None, address: str = "127.0.0.1") -> tuple[int, str]:
        """Ask the site over a new connection; 0 when nothing answers."""
        connection = http.client.HTTPConnection(address, port or self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError as error:
            return 0, str(error)
        finally:
            connection.close()

    def containers(self) -> dict[str, str]:
        """This site's containers: name -> state."""
        listed = docker("ps", "--all", "--filter", f"label={SWEPT}={self.app}", "--format", "{{.Names}}\t{{.State}}")
        return dict(line.split("\t") for line in listed.splitlines())

    def killed_for_memory(self, since: float) -> list[str]:
        """Which containers had a process killed at their memory limit, from a time of `time.time()` on."""
        chosen = ("--filter=event=oom", f"--filter=label={SWEPT}={self.app}", "--format={{.Actor.Attributes.name}}")
        return docker("events", f"--since={since:.0f}", f"--until={time.time():.0f}", *chosen).split()

    def sweep(self) -> None:
        """Remove everything that carries this site's label, its releases' images, and those that have its name."""
        for kind in ("containers", "volumes", "networks"):
            remove_labelled(kind, self.app)
        releases = {path.name for path in (self.state / "releases").glob("*")}
        own = {*releases, *(commit[:12] for commit in self.git("log", "--all", "--format=%H").split())}
        tags = {name: name.partition(":")[2] for name in images()}
        names = [
            name
            for name, tag in tags.items()
            if tag in own or tag.partition("-dirty")[0] in own or name.startswith(f"{self.app}/")
        ]
        if names:
            subprocess.run(["docker", "image", "rm", "--force", *names], capture_output=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def remove_labelled(kind: str, app: str, env: str = "local") -> None:
    """Remove containers, volumes or networks of one app in one environment."""
    for project in (f"{app}-{env}", f"{app}-{env}-blue", f"{app}-{env}-green"):
        label = f"label=com.docker.compose.project={project}"
        if kind == "containers":
            found, remove = docker("ps", "-aq", "--filter", label), ["rm", "--force", "--volumes"]
        else:
            found, remove = docker(kind[:-1], "ls", "-q", "--filter", label), [kind[:-1], "rm"]
        if found.split():
            subprocess.run(["docker", *remove, *found.split()], capture_output=True)


def docker(*words: str) -> str:
    """Run docker and return what it printed."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def images() -> list[str]:
    """List the names of all images; asked again where the engine stumbles over one that others remove just then."""
    words = ["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]
    for _ in range(5):
        listed = subprocess.run(words, capture_output=True, text=True)
        if listed.returncode == 0:
            break
    return listed.stdout.split()


def ports(worker: str) -> Iterator[int]:
    """Go round the ports of one of pytest's workers, below those that the kernel gives to anybody; begin anywhere."""
    first = 10_000 + PORTS * int(worker.removeprefix("gw"))
    begin = random.randrange(PORTS)
    return itertools.cycle(first + (begin + number) % PORTS for number in range(PORTS))


OWN_PORTS = ports(os.environ.get("PYTEST_XDIST_WORKER", "gw0"))


def free_port() -> int:
    """Find a TCP port that nothing listens on, and that no other worker finds before it is used."""
    return next(port for port in OWN_PORTS if is_free(port))


def is_free(port: int) -> bool:
    """Tell whether nothing listens on a port here."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", port))
        return True
    return False


def make_app(folder: Path, app: Path) -> Site:
    """A site of another team's app: its own files, and of ours the edge's image alone."""
    site = Site(folder)
    shutil.copytree(app, site.root, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("edge.Dockerfile", "edge.Dockerfile.dockerignore"):
        shutil.copy(ROOT / "docker" / name, site.root / "docker")
    shutil.copytree(ROOT / "docker" / "frontend" / "site", site.root / "docker" / "site")
    site.git("init", "--quiet")
    site.commit(
        f"{app.name} as {site.app}"
    )  # no two sites have one revision: it names images, which go with their site
    return site


def make_tiny(folder: Path) -> Site:
    """A site of the tiny app: another team's compose file, one service, no database."""
    return make_app(folder, TINY)


def make_template(folder: Path) -> Site:
    """A site of the shape that a full-stack template has.

    A prestart job, two web services, static pages, PostgreSQL.
    """
    site = make_app(folder, TEMPLATE)
    site.inv("secrets.init")
    return site


def copy_checkout(site: Site) -> None:
    """Copy the files of this checkout, as they are, into a repository of the site's own."""
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (site.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, site.root / name)
    site.git("init", "--quiet")
    site.commit(f"bookreader as {site.app}")


def make_bookreader(folder: Path) -> Site:
    """A site of the reference app, from the files of this checkout as they are."""
    site = Site(folder)
    copy_checkout(site)
    site.inv("secrets.init")
    return site
