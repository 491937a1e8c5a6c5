"""What a step works with: where, on which release, and the commands on its files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.facts import Container, Facts
from deploy.core.model import LABEL, Deploy, Release, ReleasedService, Revision
from deploy.core.shell import Command, compose, docker
from deploy.edge.folder import EdgeFolder
from deploy.hosts.fleet import each
from deploy.hosts.host import Host
from deploy.site import rebuild
from deploy.state.store import Bundle, State, state_of

T = TypeVar("T")
# the longest that a migration or a job may take
ONE_OFF_SECONDS = 900
NOTHING = Facts()


@dataclass(frozen=True)
class Run:
    """What a step needs on one host: settings, the bundle of the release that it works towards, facts."""

    settings: Settings
    host: Host
    bundle: Bundle
    facts: Facts = NOTHING
    going_back: bool = False
    chosen: Mapping[str, int] = field(
        default_factory=dict
    )  # numbers of replicas that are tried, and not written down yet
    revisions: tuple[Revision, ...] | None = None  # what the gate saw of the database's, newest first
    peers: tuple[Run, ...] = ()  # of hosts that serve, where this one came later and serves nothing yet

    @property
    def judged_by(self) -> Run:
        """The run of a host that serves, whose records say what a migration must not harm; itself where none does."""
        return self.peers[0] if self.peers else self

    @property
    def target(self) -> str:
        """The release that the run works towards, as the journal names it."""
        return self.bundle.release.id

    @cached_property
    def state(self) -> State:
        """What the host remembers of the environment."""
        return State(self.host, self.settings.state_dir)

    @cached_property
    def edge_folder(self) -> EdgeFolder:
        """The edge's configuration on the host."""
        return EdgeFolder(self.settings, self.host)

    @cached_property
    def release(self) -> Release:
        """The release, with the numbers of replicas that `inv scale` chose.

        Behind another host's edge a web service has one. One that was put together from its containers has these, and
        no more can be made.
        """
        if self.bundle.release.reconstructed:
            return self.bundle.release
        fixed = {service.name for service in self.bundle.release.of("web")} if self.settings.fronts else set()
        chosen = {**self.scale(), **self.chosen}
        return self.bundle.release.scaled({name: number for name, number in chosen.items() if name not in fixed})

    def scale(self) -> dict[str, int]:
        """Return the chosen numbers of replicas.

        On the way back, where these cannot be read, those that the release's containers have.
        """
        try:
            return self.state.scale()
        except Refused as damaged:
            if not self.going_back:
                raise
            own = [c.service for c in self.facts.containers if c.release == self.bundle.release.id]
            self.state.warn(f"{damaged.what}; going back keeps the replicas that are there: {damaged.then}")
            return {service: own.count(service) for service in own}

    @cached_property
    def serving_release(self) -> Release | None:
        """The release that serves, or did when the run began, by its containers where its record is gone.

        None when nothing shows it.
        """
        if not self.facts.edge.release:
            return None
        with suppress(OpsError):
            return rebuild.release(self.state, self.facts.edge.release, self.facts.containers)
        return None

    @property
    def services(self) -> dict[str, ReleasedService]:
        """The services of the release by name, and those of the one that it replaces which have no more place here."""
        return {
            service.name: service
            for one in (self.serving_release, self.bundle.release)
            if one
            for service in one.services
        }

    def replicas(self, service: ReleasedService, upto: int = 0) -> int:
        """Return how many containers a service has, up to so many of each (0: all)."""
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

    def compose(self, colour: str, *words: str, release: str = "") -> Command:
        """Return a Compose command on a file of the bundle, or of another release's."""
        file = self.state.bundle_folder(release or self.release.id) / f"{colour or 'shared'}.yml"
        return compose(self.project(colour), str(file), *words)

    def containers(self, colour: str, names: Iterable[str]) -> tuple[Container, ...]:
        """Return these services' containers in a colour."""
        services = set(names)
        there = self.host.engine.containers(self.settings.name)
        return tuple(c for c in there if c.colour == colour and c.service in services)

    @property
    def edge(self) -> str:
        """The name of the edge's container; raise OpsError when it does not run."""
        name = self.running_edge
        if not name:
            raise OpsError(
                "the edge does not run",
                where=self.host.name,
                then="docker logs of the edge; inv deploy starts it",
                slug="edge-down",
            )
        return name

    @property
    def running_edge(self) -> str | None:
        """The name of the edge's container; None when it does not run."""
        there = self.host.engine.containers(self.settings.name)
        return next((c.name for c in there if c.role == "edge" and c.state == "running"), None)

    def exec_all(self, containers: Iterable[Container], command: Callable[[Deploy], tuple[str, ...]]) -> list[str]:
        """Run a command of x-deploy in each of these containers that runs; return those in which it failed."""
        commands = {name: command(service.deploy) for name, service in self.services.items()}
        able = [c for c in containers if c.state == "running" and commands.get(c.service)]
        return [c.name for c in able if self.host.try_run(docker("exec", c.name, *commands[c.service])).returncode]

    def one_off(
        self, colour: str, service: str, command: tuple[str, ...], environment: Mapping[str, str] | None = None
    ) -> str:  # fmt: skip
        """Run a command in a container of its own that is labelled and removed; return what it printed."""
        options = [f"--label={LABEL}.oneoff={service}", *(f"--env={k}={v}" for k, v in (environment or {}).items())]
        ran = self.compose(colour, "run", "--rm", "--no-deps", "-T", *options, f"{service}-{colour}", *command)
        try:
            return self.host.run(ran, timeout=ONE_OFF_SECONDS)
        except CommandFailed as error:
            output, whole = self.masked(error.output), self.masked(error.whole)
            raise CommandFailed(str(ran), error.returncode, output, error.where, whole=whole) from None

    def masked(self, text: str) -> str:
        """Hide the release's secrets in what one of its programs printed: errors go into the journal and to chats."""
        if self.bundle.release.reconstructed and not self.bundle.env:
            return "(not shown: the release's secrets are gone, and it may hold some)" if text else ""
        return secrets.masked(text, secrets.rendered(self.bundle.env).values())


@dataclass(frozen=True)
class Fleet:
    """The runs of one release, one on each host of an environment."""

    at: Environment
    runs: tuple[Run, ...]
    backup_due: bool = False  # before it migrates, once data runs
    migrates: bool = True  # unless nothing that serves lacks a migration: then no dump is in the way

    @property
    def release(self) -> Release:
        """The release; what it is called and made of is the same on every host."""
        return self.runs[0].release

    def observed(self, facts: Mapping[str, Facts]) -> Fleet:
        """Return the same runs with what was observed on their hosts."""
        return replace(self, runs=tuple(replace(run, facts=facts[run.host.name]) for run in self.runs))

    def each(self, act: Callable[[Run], T], some: Iterable[Run] | None = None) -> dict[str, T]:
        """Do something for every run, or for some, several at once; return the results by the hosts' names."""
        runs = {run.host.name: run for run in (self.runs if some is None else some)}
        hosts, at_once = [run.host for run in runs.values()], self.at.settings.ssh.parallel
        return each(hosts, lambda host: act(runs[host.name]), among=self.at.hosts, at_once=at_once)


def standing(at: Environment, release: str, facts: Mapping[str, Facts]) -> Fleet:
    """Return the runs of a release that every host keeps, or whose containers it has.

    Raise Refused naming those that have neither.
    """
    return Fleet(at, tuple(at.each(lambda host: standing_on(at, host, release, facts[host.name])).values()))


def standing_on(at: Environment, host: Host, release: str, facts: Facts) -> Run:
    """Return the run of a release that one host keeps, or whose containers it has.

    Raise Refused when it has neither.
    """
    return Run(at.settings, host, rebuild.bundle(at.settings, host, release, facts), facts)


def kept_fleet(at: Environment, release: str) -> Fleet:
    """Return the runs of a release that every host keeps; raise Refused naming those that do not."""
    return Fleet(at, tuple(at.each(lambda host: kept_run(at, host, release)).values()))


def kept_run(at: Environment, host: Host, release: str) -> Run:
    """Return the run of a release that one host keeps; raise Refused when it does not."""
    return Run(at.settings, host, state_of(at, host).bundle(release))
