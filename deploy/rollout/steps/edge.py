"""Steps that change what the edge serves, or check it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from deploy.core.errors import OpsError
from deploy.core.model import upstream_name
from deploy.edge import nginx, switch
from deploy.edge.folder import generation_folder
from deploy.edge.frame import APP, MAINTENANCE
from deploy.rollout.steps.step import Stage, Step
from deploy.rollout.traffic import edge_files, route_to
from deploy.rollout.turns import replicas
from deploy.site import facts
from deploy.site.run import Run


@dataclass(frozen=True)
class RevertEdge(Step):
    """Let the edge serve again what it was last proven to serve: an interrupted switch left a generation unproven."""

    generation: int
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"take back the edge's generation {self.generation}, which was never proven"

    def perform(self, run: Run) -> None:
        switch.revert(run.edge_folder, run.running_edge)


@dataclass(frozen=True)
class PrepareEdge(Step):
    """Write a first configuration for an edge that has none."""

    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return "write the edge's first configuration: no release in service"

    def perform(self, run: Run) -> None:
        route = route_to(run, None, None)
        run.edge_folder.write(edge_files(run, 1, route), 1, route)
        switch.point(run.edge_folder, generation_folder(1), switch.CURRENT, switch.PROVEN)


@dataclass(frozen=True)
class RestoreEdge(Step):
    """Write again what a running edge serves, whose folder was removed: by what it answers, in this release's routes.

    A container of its own tests that before the edge is stopped: the running one does not see the new folder.
    """

    edge: str
    generation: int
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"write the edge's configuration again (generation {self.generation}), by what it serves"

    def perform(self, run: Run) -> None:
        serves, folder = run.facts.edge, generation_folder(self.generation)
        route = route_to(run, serves.colour, serves.release, serves.members, maintenance=serves.maintenance)
        run.edge_folder.write(edge_files(run, self.generation, route), self.generation, route)
        switch.point(run.edge_folder, folder, switch.CURRENT, switch.PROVEN)
        path = f"{switch.MOUNTED}/{folder}/nginx.conf"
        tested = ("run", "--rm", "--no-deps", "-T", self.edge, "nginx", "-t", "-q", "-c", path)
        run.host.run(run.compose("", *tested))


@dataclass(frozen=True)
class RegisterColour(Step):
    """Let the edge know upstreams that the generation which serves has not; visitors are answered as before."""

    colour: str
    services: tuple[str, ...]
    generation: int
    stage: ClassVar[Stage] = Stage.SERVED

    def __str__(self) -> str:
        names = ", ".join(self.services)
        return f"register {self.colour} with the edge (generation {self.generation}): {names}; traffic stays"

    def perform(self, run: Run) -> None:
        route = route_to(run, None, None)
        names = [upstream_name(service, self.colour) for service in self.services]
        upstreams = {name: route.upstreams[name] for name in names}
        switch.register(run.edge_folder, run.edge, self.generation, upstreams)


@dataclass(frozen=True)
class Switch(Step):
    """Make the edge name a colour, and the `mixed` replicas of the other; prove by generation that it does."""

    colour: str | None
    release: str | None
    generation: int
    maintenance: bool = False
    mixed: tuple[str, ...] = ()
    frame: str = ""  # what the edge's frame hashes to, where it changes with this switch
    stage: ClassVar[Stage] = Stage.SWITCH

    def __str__(self) -> str:
        serves = "the maintenance page" if self.maintenance else self.colour or "nothing"
        serves += f", mixed with {len(self.mixed)} of the other colour" if self.mixed else ""
        serves += ", in another frame" if self.frame else ""
        return f"switch traffic to {serves} (generation {self.generation}) and prove it"

    def perform(self, run: Run) -> None:
        web = run.release.of("web")
        there = run.containers(self.colour, [s.name for s in web]) if self.colour else ()
        new = {s: replicas(s.name, there)[: s.replicas] for s in web}
        own = [c.name for containers in new.values() for c in containers]
        members = (*own, *self.mixed)
        route = route_to(run, self.colour, self.release, members, maintenance=self.maintenance)
        if self.mixed:  # the others may not answer to the path by which this release is asked
            asked = ((s, containers[0].name) for s, containers in new.items() if containers)
            route = replace(route, health=tuple(nginx.replica_path(s, name) for s, name in asked))
        if run.release.of("edge"):
            files = edge_files(run, self.generation, route, self.frame)
            switch.switch(run.edge_folder, run.edge, files, self.generation, route)
        else:  # a host without an edge: the release in service is recorded
            run.edge_folder.write({}, self.generation, route)
            folder = generation_folder(self.generation)
            switch.point(run.edge_folder, folder, switch.CURRENT, switch.PROVEN)


@dataclass(frozen=True)
class TurnPage(Step):
    """Put the maintenance page in front of the release that serves, or take it away; the release stays.

    By the files that the edge serves from, whatever became of the release's own.
    """

    on: bool
    generation: int
    stage: ClassVar[Stage] = Stage.SWITCH

    def __str__(self) -> str:
        page = "the maintenance page" if self.on else "the app again"
        return f"serve {page} (generation {self.generation}) and prove it"

    def perform(self, run: Run) -> None:
        files, route = run.edge_folder.proven()
        if {APP, MAINTENANCE} - files.keys():  # an early version of this toolkit wrote that generation
            files = edge_files(run, self.generation, route)
        switch.turn_page(run.edge_folder, run.edge, files, self.generation, on=self.on)


@dataclass(frozen=True)
class AwaitEdgeSwitch(Step):
    """Check that the edge of another host names a colour, before what it named is stopped here."""

    front: str
    colour: str | None
    release: str | None
    stage: ClassVar[Stage] = Stage.FOLLOW

    def __str__(self) -> str:
        return f"check that {self.front} serves {self.colour or 'nothing'}"

    def perform(self, run: Run) -> None:
        edge = facts.observe_edge(run.settings, run.host, ())
        if (edge.colour, edge.release) != (self.colour, self.release):
            serves, desired = (f"{one.release or 'nothing'} ({one.colour})" for one in (edge, self))
            words = f"the edge serves {serves}, not {desired}"
            raise OpsError(words, where=self.front, then="inv status, then inv deploy", slug="edge-not-switched")
