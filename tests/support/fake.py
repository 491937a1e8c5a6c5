"""A host whose engine and edge are made of values; files are real, in a folder of the test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from deploy.core import yaml
from deploy.core.errors import Interrupted, OpsError, Unreachable
from deploy.core.facts import Container
from deploy.core.model import BLOCK, LABEL, MADE_OF, block_of
from deploy.core.shell import Command, Result
from deploy.hosts.engine import Engine
from deploy.hosts.local import LocalHost
from deploy.insight.space import FILE_SYSTEM
from deploy.rollout import shared

HISTORY = "Rev: r2 (head) (current)\nParent: r1\n\nRev: r1\nParent: <base>\n"
DONE = Result(0, "", "")
SAID = re.compile(r"return 200 '({\"generation\":.*})';")


class Broken(BaseException):
    """An invariant of the fakes does not hold: no code that handles failures may take it for one of them."""


def invariant(holds: object, message: object) -> None:
    """End the test, whoever called the fake, unless something holds."""
    if not holds:
        raise Broken(message)


@cache
def parsed(text: str) -> Any:
    """Read a rendered file, each text once."""
    return yaml.load_rendered(text)


@cache
def specified(text: str) -> dict[str, shared.Spec]:
    """Read what the services of a rendered file need of the engine, each text once."""
    return shared.read(text)


class FakeEngine(Engine):
    """Containers by name."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.observed: dict[str, Container] = {}
        self.made: frozenset[str] = frozenset()
        self.orphans: tuple[str, ...] = ()

    def resources(self) -> frozenset[str]:
        """List what every release of the tests needs."""
        return self.made

    def containers(self, environment: str) -> tuple[Container, ...]:
        """List them all; what has just been started is healthy the next time."""
        self.host.hit()
        listed = tuple(sorted(self.observed.values(), key=lambda c: c.name))
        for seen in listed:
            if seen.health == "starting":
                self.change(seen.name, health="healthy")
        return listed

    def one_offs(self, environment: str) -> tuple[str, ...]:
        """List orphans; each is asked for twice before it ends."""
        seen, self.orphans = self.orphans, self.orphans[: len(self.orphans) - 1]
        return seen

    def require(self) -> None:
        """Always answer."""

    def logs(self, name: str, lines: int = 15) -> str:
        """Return what the container said."""
        return f"last words of {name}"

    def health_check(self, name: str) -> str:
        """Return what is to be shown of a failed health check."""
        return f"health check ended with 1: {name} said no" if self.observed[name].health else ""

    def mounted(self, name: str, place: str) -> str | None:
        """Return the folder that the edge is configured from, the only one that anybody asks for."""
        return str(self.host.placed_edge)

    def change(self, name: str, **fields: Any) -> None:
        """Change one container; watch that there are never two schedulers."""
        self.observed[name] = replace(self.observed[name], **fields)
        schedulers = [c.name for c in self.observed.values() if c.role == "scheduler" and c.alive]
        invariant(len(schedulers) <= 1, schedulers)


class FakeHost(LocalHost):
    """Understands the commands of a rollout; `fault` is what the next journal line that names its step sets off."""

    def __init__(self, edge: Path) -> None:
        self.fake = FakeEngine(self)
        self.edge_folder = self.placed_edge = edge  # where it is, and where its host says that it is
        self.lost_images: set[str] = set()
        self.generation, self.answer = 0, ""  # what the edge has read, whatever becomes of the files
        self.workers = [7]  # process ids of nginx's workers that take requests
        self.variables = dict[str, list[str]]()  # of containers
        self.executed: list[str] = []
        self.fault: tuple[int, Callable[[], BaseException | None]] | None = None
        self.begun = 0
        self.log: list[Result] = []  # what `docker logs` leaves, each time that it is run
        self.mute, self.deaf = False, ""  # nobody answers, or one container
        self.prometheus: Callable[[str], Any] | None = None  # what it answers to a path; None: it does not run
        self.written: dict[str, str] = {}  # the line that was written into a container's output last
        self.shellless: set[str] = set()  # services without a program that could write one
        self.dropped: set[str] = set()  # services that began as root, and run as another
        self.stale: set[str] = set()  # containers that Compose takes for running whatever became of them
        self.held: dict[
            str, str
        ] = {}  # endpoints that the engine holds for containers that have ended -> their network
        self.tasks: list[list[str]] = []  # what waits besides, each time that a worker is asked
        self.bad: set[str] = set()  # what shared services are made of that end as soon as they start
        self.killed_at: tuple[int, str, type[BaseException]] | None = None
        self.broken: Callable[[], BaseException | None] | None = None

    @property
    def engine(self) -> FakeEngine:
        """The fake engine."""
        return self.fake

    def fail_at(self, number: int, fault: Callable[[], BaseException | None]) -> None:
        """Set off a fault when the step of this number, from 0, begins."""
        self.fault, self.begun = (number, fault), 0

    def kill_at(self, number: int, state: str, killed: type[BaseException]) -> None:
        """End the operator's process just after the journal's line of a step, numbered from 0, was written."""
        self.killed_at, self.begun = (number, state, killed), 0

    def append(self, path: Path, line: str) -> None:
        """Keep a line; a step's beginning may set off the fault, any other line ends it."""
        super().append(path, line)
        entry = json.loads(line)
        self.broken, self.mute = None, False
        if path.name != "journal.jsonl" or "step" not in entry:
            return
        if self.killed_at and self.killed_at[:2] == (self.begun - (entry["state"] == "done"), entry["state"]):
            killed, self.killed_at = self.killed_at[2], None
            raise killed
        if entry["state"] == "begin":
            if self.fault and self.fault[0] == self.begun:
                self.begin_fault(entry["step"])
            self.begun += 1

    def begin_fault(self, step: str) -> None:
        """Break what the step looks at: health, answers through the edge, or the next command."""
        assert self.fault
        if step == "AwaitHealthy" and self.fault[1]() is None:
            newest = [name for name, c in self.engine.observed.items() if c.health == "starting"]
            for name in newest:
                self.engine.change(name, state="exited", health="", exit_code=3)
        elif step == "AwaitServed" and self.fault[1]() is None:
            self.mute = True
        elif step == "Watch":
            error = self.fault[1]()
            passes = isinstance(error, Interrupted | Unreachable | OSError) or not isinstance(error, Exception | None)
            self.mute, self.broken = (
                not passes,
                (lambda: error) if passes else None,
            )  # what else breaks there is not the release's fault
        else:
            self.broken = self.fault[1]

    def hit(self) -> None:
        """Raise the fault, once."""
        fault, self.broken = self.broken, None
        if fault:
            raise fault() or OpsError("it did not work")

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Do what a command would do."""
        if command.argv[0] in ("date", "du", "find", "flock", "kill", "stat") or FILE_SYSTEM in command.argv:
            return super().try_run(command, timeout=timeout)
        self.executed.append(str(command))
        self.hit()
        try:
            return self.perform(command)
        except LookupError as error:
            raise Broken(f"`{command}` is about what is not there") from error

    def perform(self, command: Command) -> Result:
        """Do what a command of Docker would do."""
        match command.argv:
            case ("docker", "compose", "--project-name", _, "--file", file, "--env-file", "/dev/null", "up", *words):
                scale = dict(word.removeprefix("--scale=").split("=") for word in words if word.startswith("--scale="))
                names = [word for word in words if not word.startswith("--")]
                if "--force-recreate" in words:
                    self.recreate(Path(file), names)
                return self.up(Path(file), names, scale)
            case ("docker", "network", "connect", network, name):
                self.engine.change(name, networks=(*self.engine.observed[name].networks, network))
            case ("docker", "compose", *_, "tasks", "known"):
                return Result(0, "old\n", "")
            case ("docker", "exec", _, "tasks", "pending"):
                return Result(0, "\n".join(["old", *self.tasks.pop(0)] if self.tasks else []), "")
            case ("docker", "exec", _, "failed"):
                return Result(0, "0", "")
            case ("docker", "exec", name, *_, line) if '"marker"' in line:
                if self.engine.observed[name].service in self.shellless:
                    return Result(127, "", "executable file not found in $PATH")
                if self.engine.observed[name].service in self.dropped:
                    return Result(2, "", "sh: 1: cannot create /proc/1/fd/1: Permission denied")
                self.written[name] = line
            case ("docker", "inspect", "--format", "{{json .Config.Env}}", *names):
                return Result(0, "".join(f"{json.dumps(self.variables.get(name))}\n" for name in names), "")
            case ("docker", "inspect", "--format={{.Path}}", _):
                return Result(0, "redis-server\n", "")
            case ("docker", "logs", "--timestamps", "--since", _, name) if name in self.written:
                times = "2026-11-30T10:00:00.000000000Z"  # many an app writes its own lines to stderr
                return Result(0, f"{times} {self.written[name]}\n", f"{times} GET /\n" * 20)
            case ("docker", "logs", *_):
                return self.log.pop(0) if self.log else DONE
            case ("docker", "inspect", "--format", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", _):
                return Result(0, "json-file /logs/edge-json.log\n", "")
            case ("docker", "compose", *_, "history", "--verbose", "--indicate-current"):
                return Result(0, HISTORY, "")
            case ("docker", "stop", *names):
                for name in names:
                    self.engine.change(name, state="exited", health="")
            case ("docker", "rm", "--force", *names):
                for name in names:
                    invariant(
                        name not in json.loads(self.answer)["members"], f"{name} was removed while the edge named it"
                    )
                    del self.engine.observed[name]
            case ("docker", "rm", *names):
                for name in names:
                    invariant(not self.engine.observed.pop(name).alive, f"{name} was removed while it ran")
            case ("docker", "network", "disconnect", "--force", network, name):
                invariant(
                    name not in self.engine.observed, "the engine takes only the settings of a container that is there"
                )
                invariant(self.held.pop(name, None) == network, f"{name} is not held in {network}")
            case ("docker", "start" | "restart", *names):
                for name in names:
                    if name in self.held:
                        return self.refused(name)
                    self.engine.change(name, state="running", health="starting")
                    self.crash(name)
            case ("docker", "exec", _, "busybox", "ps", *_):
                return Result(0, "PID COMMAND\n" + "".join(f"{n} nginx: worker process\n" for n in self.workers), "")
            case ("docker", "exec", _, "busybox", "kill", "-HUP", "1"):
                self.workers = [self.workers[-1] + 1]
                self.reload()
            case ("docker", "image", "inspect", "--format", "{{.Id}}", *ids) if self.lost_images:
                return Result(1, "".join(f"{one}\n" for one in ids if one not in self.lost_images), "no such image")
            case ("docker", "image" | "tag" | "exec", *_) | ("docker", "compose", *_) | ("docker", "volume", "ls", *_):
                pass
            case _:
                raise Broken(f"nobody expected `{command}`")
        return DONE

    def up(self, file: Path, names: Sequence[str], scale: Mapping[str, str]) -> Result:
        """Start services of a rendered file; a stopped container starts again, one of another release is recreated."""
        document, specs = parsed(file.read_text()), specified(file.read_text())
        for name in names:
            labels = document["services"][name]["labels"]
            fields: dict[str, Any] = {
                word: labels.get(f"{LABEL}.{word}", "") for word in ("service", "role", "colour", "release")
            }
            there = [
                c
                for c in self.engine.observed.values()
                if (c.colour, c.service) == (fields["colour"], fields["service"])
            ]
            for old in [c for c in there if c.release != fields["release"]]:
                invariant(
                    not (old.alive and old.name in self.named()), f"{old.name} is recreated, and the edge names it"
                )
                del self.engine.observed[old.name]
            kept = [c.number for c in there if c.release == fields["release"]]
            invariant(len(kept) <= int(scale.get(name, 1)), "Compose would remove one of its own choice")
            for number in [*kept, *(n for n in range(1, 99) if n not in kept)][: int(scale.get(name, 1))]:
                key = f"{document['name']}-{name}-{number}"
                block = block_of(labels.get(BLOCK, ""))
                image = document["services"][name]["image"]
                made = Container(key, **fields, state="created", health="", image=image, number=number, deploy=block,
                                 made_of=labels.get(MADE_OF, ""), networks=tuple(specs[fields["service"]].networks),
                                 mounts=tuple(specs[fields["service"]].mounts))  # fmt: skip
                if not self.engine.observed.setdefault(key, made).alive and key not in self.stale:
                    if key in self.held:
                        return self.refused(key)
                    self.engine.change(key, state="running", health="starting")
                    self.crash(key)
        if "edge" in names:
            self.reload()
        return DONE

    def recreate(self, file: Path, names: Sequence[str]) -> None:
        """Remove the containers of shared services, in whatever state they are."""
        project = parsed(file.read_text())["name"]
        for name in names:
            self.engine.observed.pop(f"{project}-{name}-1", None)

    def crash(self, name: str) -> None:
        """Let what is made of something that does not work start over and over."""
        if self.engine.observed[name].made_of in self.bad:
            self.engine.change(name, state="restarting", health="", restarts=3)

    def refused(self, name: str) -> Result:
        """Say what the engine says of an endpoint that it holds."""
        return Result(
            1,
            "",
            f"Error response from daemon: endpoint with name {name} already exists in network {self.held[name]}\n",
        )

    def named(self) -> list[str]:
        """Which containers the edge names."""
        route = self.edge_folder / "current" / "route.json"
        try:
            return list(json.loads(route.read_text())["members"])
        except (OSError, ValueError, TypeError, RecursionError):
            return []

    def reload(self) -> None:
        """Let the edge read the configuration that its link names."""
        folder = self.edge_folder / "current"
        try:
            route = json.loads((folder / "route.json").read_text())
            self.generation, self.answer = int(route["generation"]), json.dumps(route)
        except (OSError, ValueError, TypeError, RecursionError):  # nginx never reads that file
            self.answer = SAID.search((folder / "inner.conf").read_text())[1]  # type: ignore[index]  # each has it
            self.generation = json.loads(self.answer)["generation"]

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Answer as the edge's inner listener."""
        if path in ("/generation", "/edge-health"):
            return 200, self.answer
        if path == "/":
            return (502 if self.mute else 200), ""
        if path.startswith("/api/v1/"):
            return (200, json.dumps({"data": self.prometheus(path)})) if self.prometheus else (0, "")
        _, colour, service, _ = path.split("/")
        if self.deaf and self.deaf in service:
            return 502, ""
        found = [
            c
            for c in [*self.engine.observed.values()]
            if ((c.colour, c.service) == (colour, service) or service == f"{c.name}:8000") and c.up
        ]
        return (200, json.dumps({"release": found[0].release})) if found and not self.mute else (502, "")
