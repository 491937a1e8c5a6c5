"""The steps that a plan is made of: values that say what will be done, in words a person reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One thing to do; `str()` is the line that people see."""

    @property
    def name(self) -> str:
        """The step's name in the journal."""
        return type(self).__name__


@dataclass(frozen=True)
class RevertEdge(Step):
    """Take back a generation of the edge that an interrupted switch left unproven."""

    generation: int

    def __str__(self) -> str:
        return f"take back the edge's generation {self.generation}, which was never proven"


@dataclass(frozen=True)
class AwaitOrphans(Step):
    """Wait for one-off containers that an interrupted run left, above all a migration."""

    containers: tuple[str, ...]

    def __str__(self) -> str:
        return f"wait for what an interrupted run left: {', '.join(self.containers)}"


@dataclass(frozen=True)
class PrepareEdge(Step):
    """Write a first configuration for an edge that has none."""

    def __str__(self) -> str:
        return "write the edge's first configuration: no release in service"


@dataclass(frozen=True)
class CreateShared(Step):
    """Create networks and volumes that colours share, those that are missing."""

    resources: tuple[str, ...]

    def __str__(self) -> str:
        return f"create {len(self.resources)} networks and volumes that colours share"


@dataclass(frozen=True)
class StartShared(Step):
    """Start data services and the edge, those that do not run; never recreate one. The way back goes on without what is not `required`."""

    services: tuple[str, ...]
    required: bool = True

    def __str__(self) -> str:
        return f"start {', '.join(self.services)}"


@dataclass(frozen=True)
class RecreateShared(Step):
    """Recreate data services or the edge, which a deploy never does unless it was told to; requests are lost meanwhile.

    The journal keeps what they were made of, so that going back knows what it restores; by the files of another `release` where
    the one that is gone back to never applied its own.
    """

    services: tuple[str, ...]
    former: tuple[str, ...] = ()
    release: str = ""

    def __str__(self) -> str:
        return f"recreate {', '.join(self.services)}: an outage"


@dataclass(frozen=True)
class Migrate(Step):
    """Migrate the database in a one-off container of the new image."""

    colour: str
    service: str
    command: tuple[str, ...]

    def __str__(self) -> str:
        return f"migrate the database: {' '.join(self.command)}"


@dataclass(frozen=True)
class RunJob(Step):
    """Run a job to its end before traffic moves."""

    colour: str
    service: str

    def __str__(self) -> str:
        return f"run {self.service}"


@dataclass(frozen=True)
class StartColour(Step):
    """Start services of the idle colour: all their replicas, or up to some number of each."""

    colour: str
    services: tuple[str, ...]
    upto: int = 0

    def __str__(self) -> str:
        return f"start {self.colour}: {', '.join(self.services)}" + (f", up to {self.upto} of each" if self.upto else "")


@dataclass(frozen=True)
class AwaitHealthy(Step):
    """Wait until the engine calls every container of a colour healthy."""

    colour: str
    services: tuple[str, ...]
    upto: int = 0

    def __str__(self) -> str:
        return f"wait until {self.colour} is healthy"


@dataclass(frozen=True)
class RegisterColour(Step):
    """Let the edge know upstreams that the generation which serves has not; visitors are answered as before."""

    colour: str
    services: tuple[str, ...]
    generation: int

    def __str__(self) -> str:
        return f"register {self.colour} with the edge (generation {self.generation}): {', '.join(self.services)}; traffic stays"


@dataclass(frozen=True)
class AwaitServed(Step):
    """Ask the idle colour through the edge until it answers with the new version."""

    colour: str

    def __str__(self) -> str:
        return f"probe {self.colour} through the edge"


@dataclass(frozen=True)
class Quiet(Step):
    """Tell workers to take no new tasks: a task that only the next release knows would be lost on them."""

    colour: str
    services: tuple[str, ...]

    def __str__(self) -> str:
        return f"let {self.colour} take no new tasks: {', '.join(self.services)}"


@dataclass(frozen=True)
class Resume(Step):
    """Take back what a drain told services of a colour."""

    colour: str
    services: tuple[str, ...]

    def __str__(self) -> str:
        return f"let {self.colour} work as before: {', '.join(self.services)}"


@dataclass(frozen=True)
class Switch(Step):
    """Make the edge name a colour, and replicas of the other `beside` it; prove by generation that it does."""

    colour: str | None
    release: str | None
    generation: int
    maintenance: bool = False
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = "the maintenance page" if self.maintenance else self.colour or "nothing"
        told += f", beside {len(self.beside)} of the other colour" if self.beside else ""
        return f"switch traffic to {told} (generation {self.generation}) and prove it"


@dataclass(frozen=True)
class TurnPage(Step):
    """Put the maintenance page in front of the release that serves, or take it away; the release and its replicas stay."""

    on: bool
    generation: int

    def __str__(self) -> str:
        return f"serve {'the maintenance page' if self.on else 'the app again'} (generation {self.generation}) and prove it"


@dataclass(frozen=True)
class SeeSwitched(Step):
    """See that the edge of another host names a colour, before what it named is stopped here."""

    front: str
    colour: str | None
    release: str | None

    def __str__(self) -> str:
        return f"see that {self.front} serves {self.colour or 'nothing'}"


@dataclass(frozen=True)
class Watch(Step):
    """Compare what the edge's log says of a release with the minute before; raise when it is worse."""

    colour: str
    release: str
    beside: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"watch {self.colour} under real traffic"


@dataclass(frozen=True)
class Drain(Step):
    """Let what the edge names no longer finish: WebSockets closed, requests answered, old edge workers gone.

    What generation `since` named and the edge still names only closes the WebSockets that would hold those workers.
    """

    colour: str
    since: int = 0

    def __str__(self) -> str:
        return f"drain {self.colour}"


@dataclass(frozen=True)
class AwaitTasks(Step):
    """Wait until no task is left that only the workers of this colour know."""

    colour: str
    service: str

    def __str__(self) -> str:
        return f"wait for tasks that only {self.service} of {self.colour} knows"


@dataclass(frozen=True)
class StopColour(Step):
    """Stop services of a colour, all but the containers to `keep`; they stay, so that going back starts them again."""

    colour: str
    services: tuple[str, ...]
    keep: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"stop {self.colour}: {', '.join(self.services)}" + (f" (but {len(self.keep)})" if self.keep else "")


@dataclass(frozen=True)
class RemoveStopped(Step):
    """Remove the containers of services of a colour that do not run."""

    colour: str
    services: tuple[str, ...]

    def __str__(self) -> str:
        return f"remove what was stopped of {self.colour}: {', '.join(self.services)}"


@dataclass(frozen=True)
class Prune(Step):
    """Remove bundles and image names of releases that are too old to go back to."""

    releases: tuple[str, ...]

    def __str__(self) -> str:
        return f"forget {len(self.releases)} old release(s)"
