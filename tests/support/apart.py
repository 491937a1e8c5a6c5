"""Fake hosts with files of their own, and a site of them."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.facts import Facts
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.rollout.apply import Outcome
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run
from tests.support.fake import FakeHost
from tests.support.place import FAST, Killed, applied, bundled
from tests.support.samples import settings

FOLDER = Path("/var/lib/shop-test")
# what a fake host remembers besides its files
OWN, ENGINE = ("generation", "answer", "workers", "executed", "begun", "written"), ("observed", "made", "orphans")
KEPT: dict[object, tuple[Path, dict[str, tuple[dict[str, Any], dict[str, Any]]], Any]] = {}
NAMES = ("app1", "app2", "app3")


class Apart(FakeHost):
    """A fake host with files of its own, although every host has them at the same paths.

    `dead` ends whatever works on it.
    """

    def __init__(self, name: str, root: Path, dead: Event) -> None:
        super().__init__(root / FOLDER.relative_to("/") / "edge")
        self.name, self.root, self.dead = name, root, dead
        self.placed_edge = FOLDER / "edge"

    def real(self, path: Path) -> Path:
        return (
            Path(f"{self.root}{path}") if f"{path}/".startswith(f"{FOLDER}/") else path
        )  # asked a thousand times in a test

    def hit(self) -> None:
        if self.dead.is_set():
            raise Killed
        super().hit()

    def append(self, path: Path, line: str) -> None:
        if self.dead.is_set():
            raise Killed
        try:
            super().append(self.real(path), line)
        except Killed:
            self.dead.set()
            raise

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        super().write(self.real(path), text, mode=mode)

    def read(self, path: Path) -> str | None:
        return super().read(self.real(path))

    def listdir(self, folder: Path) -> list[str]:
        return super().listdir(self.real(folder))

    def remove(self, path: Path) -> None:
        super().remove(self.real(path))

    def symlink(self, link: Path, target: str) -> None:
        super().symlink(self.real(link), target)

    def readlink(self, link: Path) -> str | None:
        return super().readlink(self.real(link))

    @contextmanager
    def changing(self) -> Iterator[None]:
        here = LocalHost()
        here.name, here.guards = (
            self.name,
            tuple(replace(guard, changing=self.real(guard.changing)) for guard in self.guards),
        )
        with here.changing():
            yield

    def placed(self, command: Command) -> Command:
        words = (word.replace(str(FOLDER), str(self.real(FOLDER))) for word in command.argv)
        return replace(command, argv=tuple(words))

    def open(self, command: Command, *, stdin_open: bool = False) -> Any:
        return super().open(self.placed(command), stdin_open=stdin_open)

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return super().try_run(self.placed(command), stdin=stdin, timeout=timeout)


def values(of: object, names: tuple[str, ...]) -> dict[str, Any]:
    """Copy some attributes."""
    return {name: deepcopy(getattr(of, name)) for name in names}


def once(key: object, root: Path, hosts: Mapping[str, FakeHost], deploy: Callable[[], Any]) -> Any:
    """Deploy to new hosts; what becomes of them is kept, and copied to the next that are deployed to alike."""
    if key not in KEPT:
        made = deploy()
        folder = Path(tempfile.mkdtemp(prefix="ops-kept-"))
        atexit.register(shutil.rmtree, folder)
        shutil.copytree(root, folder, symlinks=True, dirs_exist_ok=True)
        states = {name: (values(host, OWN), values(host.engine, ENGINE)) for name, host in hosts.items()}
        KEPT[key] = folder, states, made
        return made
    folder, kept, made = KEPT[key]
    shutil.copytree(folder, root, symlinks=True, dirs_exist_ok=True)
    for name, host in hosts.items():
        own, engine = kept[name]
        vars(host).update(deepcopy(own))
        vars(host.engine).update(deepcopy(engine))
    return made


class Site:
    """Three hosts that serve r2; r1 served before."""

    def __init__(self, root: Path, names: tuple[str, ...] = NAMES, kind: type[Apart] = Apart, **rollout: Any) -> None:
        servers = {name: Server(address=f"10.0.0.{n}") for n, name in enumerate(names, 1)}
        self.settings: Settings = settings(state=FOLDER, rollout={**FAST, "watch": 0, **rollout}, hosts=servers)
        self.dead = Event()
        self.hosts = {name: kind(name, root / name, self.dead) for name in names}
        once((kind, names, repr(rollout)), root, self.hosts, lambda: [self.deploy(name) for name in ("r1", "r2")])

    @property
    def at(self) -> Environment:
        return Environment(self.settings, FakeHost(FOLDER), tuple(self.hosts.values()))

    def deploy(self, name: str) -> Outcome:
        runs = [Run(self.settings, host, bundled(name)) for host in self.hosts.values()]
        for run in runs:
            run.state.keep(bundled(name))
        return applied(Fleet(self.at, tuple(runs)), "deploy")

    def facts(self) -> dict[str, Facts]:
        return observe_all(self.at)

    @property
    def serving(self) -> list[str | None]:
        for facts in self.facts().values():
            assert all(c.up for c in facts.named), "what an edge names does not run"
        return [self.facts()[name].edge.release for name in NAMES]

    def running(self) -> set[str]:
        return {
            c.release for host in self.hosts.values() for c in host.engine.observed.values() if c.alive and c.colour
        }

    def switches(self) -> list[str]:
        return [name for name, host in self.hosts.items() for line in host.executed if "-HUP" in line]

    def revive(self) -> None:
        """Another operator comes, from another machine."""
        self.dead.clear()
        for host in self.hosts.values():
            host.fault = host.killed_at = host.broken = None
            host.mute = False
