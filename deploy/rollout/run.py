"""What a step works with: where, on which release, and the commands on its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from deploy import console, secrets
from deploy.environment import Environment
from deploy.errors import CommandFailed, OpsError
from deploy.hosts.host import Host
from deploy.model import LABEL, Container, Deploy, Release, ReleasedService
from deploy.settings import Settings
from deploy.shell import Command, compose, docker
from deploy.state import Bundle, State

T = TypeVar("T")
# the longest that a migration or a job may take
ONE_OFF_SECONDS = 900


@dataclass(frozen=True)
class Run:
    """What a step needs on one host: where it works, and the bundle of the release that it works towards."""

    settings: Settings
    host: Host
    state: State
    bundle: Bundle
    going_back: bool = False

    @cached_property
    def release(self) -> Release:
        """The release, with the numbers of replicas that `inv scale` chose."""
        return self.bundle.release.scaled(self.state.scale())

    def replicas(self, service: ReleasedService, upto: int = 0) -> int:
        """Return how many containers a service has, when up to so many of each are wanted (0: all)."""
        return min(upto or service.replicas, service.replicas)

    def note(self, **facts: object) -> None:
        """Add a line to the journal; on the way back a full disk must not keep the old release from serving."""
        try:
            self.state.note(**facts)
        except OSError as full:
            if not self.going_back:
                raise
            console.warn(f"the journal cannot be written: {full.strerror}")

    def project(self, colour: str) -> str:
        """Return the Compose project of a colour, or of the shared services when it is empty."""
        return f"{self.settings.name}-{colour}" if colour else self.settings.name

    def compose(self, colour: str, *words: str) -> Command:
        """Return a Compose command on a file of the bundle."""
        file = self.state.bundle_folder(self.release.id) / f"{colour or 'shared'}.yml"
        return compose(self.project(colour), str(file), *words)

    def containers(self, colour: str, names: Iterable[str]) -> tuple[Container, ...]:
        """Return these services' containers in a colour."""
        wanted = set(names)
        return tuple(c for c in self.host.engine.containers(self.settings.name) if c.colour == colour and c.service in wanted)

    @property
    def edge(self) -> str:
        """The name of the edge's container; raise OpsError when it does not run."""
        found = self.running_edge
        if not found:
            raise OpsError("the edge does not run", where=self.host.name, then="docker logs of the edge; inv deploy starts it")
        return found

    @property
    def running_edge(self) -> str | None:
        """The name of the edge's container; None when it does not run."""
        found = (c.name for c in self.host.engine.containers(self.settings.name) if c.role == "edge" and c.state == "running")
        return next(found, None)

    def tell(self, containers: Iterable[Container], words: Callable[[Deploy], tuple[str, ...]]) -> list[str]:
        """Run a command of x-deploy in each of these containers that runs; return who did not do it."""
        known = {service.name: words(service.deploy) for service in self.release.services}
        told = [c for c in containers if c.state == "running" and known.get(c.service)]
        return [c.name for c in told if self.host.try_run(docker("exec", c.name, *known[c.service])).returncode]

    def one_off(self, colour: str, service: str, command: tuple[str, ...]) -> str:
        """Run a command in a container of its own that is labelled and removed; return what it printed."""
        label = f"--label={LABEL}.oneoff={service}"
        ran = self.compose(colour, "run", "--rm", "--no-deps", "-T", label, f"{service}-{colour}", *command)
        try:
            return self.host.run(ran, timeout=ONE_OFF_SECONDS)
        except CommandFailed as error:
            raise CommandFailed(str(ran), error.returncode, self.masked(error.output), error.where) from None

    def masked(self, text: str) -> str:
        """Hide the release's secrets in what one of its programs printed: errors go into the journal and to chats."""
        return secrets.masked(text, secrets.rendered(self.bundle.env).values())


@dataclass(frozen=True)
class Fleet:
    """The runs of one release, one on each host of an environment."""

    at: Environment
    runs: tuple[Run, ...]

    @property
    def release(self) -> Release:
        """The release; what it is called and made of is the same on every host."""
        return self.runs[0].release

    def each(self, act: Callable[[Run], T], some: Iterable[Run] | None = None) -> dict[str, T]:
        """Do something for every run, or for some, several at once; return the results by the hosts' names."""
        runs = {run.host.name: run for run in (self.runs if some is None else some)}
        return self.at.each(lambda host: act(runs[host.name]), (run.host for run in runs.values()))


def of(at: Environment, release: str) -> Fleet:
    """Return the runs of a release that every host keeps; raise Refused naming those that do not."""

    def run(host: Host) -> Run:
        state = at.state(host)
        return Run(at.settings, host, state, state.bundle(release))

    return Fleet(at, tuple(at.each(run).values()))
