"""Do a plan's steps, one after the other, each written down before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import singledispatch

from deploy import console
from deploy.database import alembic
from deploy.edge import nginx, switch
from deploy.errors import OpsError
from deploy.hosts.local import LocalHost
from deploy.images.build import prune_release
from deploy.model import LABEL, Container, Schema
from deploy.render import HOLDER
from deploy.rollout import steps
from deploy.rollout.wanted import GENERATION
from deploy.settings import Settings
from deploy.shell import Command, compose, docker
from deploy.state import Bundle, State
from deploy.wait import until


@dataclass(frozen=True)
class Run:
    """What a step needs: where it works, and the bundle of the release that it works towards."""

    settings: Settings
    host: LocalHost
    state: State
    bundle: Bundle

    def project(self, colour: str) -> str:
        """Return the Compose project of a colour, or of the shared services when it is empty."""
        return f"{self.settings.name}-{colour}" if colour else self.settings.name

    def compose(self, colour: str, *words: str) -> Command:
        """Return a Compose command on a file of the bundle."""
        file = self.state.bundle_folder(self.bundle.release.id) / f"{colour or 'shared'}.yml"
        return compose(self.project(colour), str(file), *words)

    def containers(self, colour: str, names: Iterable[str]) -> tuple[Container, ...]:
        """Return these services' containers in a colour."""
        wanted = set(names)
        return tuple(c for c in self.host.engine.containers(self.settings.name) if c.colour == colour and c.service in wanted)

    @property
    def edge(self) -> str:
        """The name of the edge's container."""
        found = [c.name for c in self.host.engine.containers(self.settings.name) if c.role == "edge"]
        if not found:
            raise OpsError("the edge's container is gone", where=self.host.name, then="inv deploy")
        return found[0]


def execute(run: Run, plan: Iterable[steps.Step]) -> None:
    """Do each step; the journal says what was begun and what was done."""
    for step in plan:
        run.state.note(step=step.name, state="begin", target=run.bundle.release.id, details=asdict(step))
        with console.step(str(step)):
            perform(step, run)
        run.state.note(step=step.name, state="done", target=run.bundle.release.id)


@singledispatch
def perform(step: steps.Step, run: Run) -> None:
    """Do one step; raise OpsError when it did not come to its end."""
    raise AssertionError(f"nobody knows how to do {step}")


@perform.register
def prepare_edge(step: steps.PrepareEdge, run: Run) -> None:
    """Give the edge something to start with."""
    switch.write(run.settings, run.host, run.bundle.files["edge.none.conf"].replace(GENERATION, "1"), 1, nginx.Route())
    switch.point(run.settings, run.host, 1)


@perform.register
def create_shared(step: steps.CreateShared, run: Run) -> None:
    """Let Compose create them as the files declare them, for a container that is removed again."""
    run.host.run(run.compose("", "--profile", HOLDER, "create", "--no-recreate", "--no-build", HOLDER))
    run.host.run(run.compose("", "--profile", HOLDER, "rm", "--force", "--stop", HOLDER))


@perform.register
def start_shared(step: steps.StartShared, run: Run) -> None:
    """Start what is missing and wait until it is healthy."""
    run.host.run(run.compose("", "up", "--detach", "--no-recreate", "--no-build", *step.services))
    await_healthy(steps.AwaitHealthy("", step.services), run)


@perform.register
def migrate(step: steps.Migrate, run: Run) -> None:
    """Migrate, then remember which releases the schema still fits."""
    one_off(run, step.colour, step.service, step.command)
    ask = alembic.history_command(step.command)
    if ask:
        revisions = alembic.history(one_off(run, step.colour, step.service, ask))
        at = alembic.current(revisions)
        if at is None:
            raise OpsError(
                "the migration ended well, but the database is at no revision that the image knows",
                where=step.service,
                then="inv logs, and alembic current in the backend",
            )
        run.state.keep_schema(Schema(revision=at, serves=alembic.served_by(revisions, at), release=run.bundle.release.id))


def one_off(run: Run, colour: str, service: str, command: tuple[str, ...]) -> str:
    """Run a command in a container of its own that is labelled and removed; return what it printed."""
    label = f"--label={LABEL}.oneoff={service}"
    return run.host.run(run.compose(colour, "run", "--rm", "--no-deps", "-T", label, f"{service}-{colour}", *command), timeout=900)


@perform.register
def run_job(step: steps.RunJob, run: Run) -> None:
    """Run a job to its end."""
    one_off(run, step.colour, step.service, ())


@perform.register
def start_colour(step: steps.StartColour, run: Run) -> None:
    """Start services; stopped ones of the same release start again, others are created anew."""
    names = [f"{service}-{step.colour}" for service in step.services]
    run.host.run(run.compose(step.colour, "up", "--detach", "--no-deps", "--no-build", *names))


@perform.register
def await_healthy(step: steps.AwaitHealthy, run: Run) -> None:
    """Wait for the engine's health checks; a container that ended or starts over is given up at once."""
    seen = run.containers(step.colour, step.services)
    before = {c.name: c.restarts for c in seen}  # a restart of last week says nothing about now

    def broken(c: Container) -> bool:
        return c.broken or c.restarts > before.get(c.name, 0)

    def settled() -> bool:
        nonlocal seen
        seen = run.containers(step.colour, step.services)
        return any(broken(c) for c in seen) or (len(seen) >= len(step.services) and all(c.up for c in seen))

    until(settled, run.settings.rollout.healthy_within, pause=0.15)
    unwell = [c for c in seen if not c.up or broken(c)]
    if unwell or len(seen) < len(step.services):
        raise OpsError(
            f"{step.colour or run.settings.name} did not become healthy:\n" + "\n".join(diagnose(run, c) for c in unwell),
            where=run.host.name,
            then=f"docker logs {unwell[0].name}, mend it, inv deploy" if unwell else "inv deploy",
        )


def diagnose(run: Run, container: Container) -> str:
    """Say what is wrong with a container, with the last lines that it printed."""
    ended = f", exit code {container.exit_code}" if container.exit_code else ""
    health = f", {container.health}" if container.health else ""
    logs = run.host.engine.logs(container.name).replace("\n", "\n      ")
    return f"    {container.name}: {container.state}{health}{ended}, restarted {container.restarts} times\n      {logs}"


@perform.register
def await_served(step: steps.AwaitServed, run: Run) -> None:
    """Ask each web service of a colour through the edge for health and version."""
    for service in run.bundle.release.of("web"):
        ask(run, step.colour, service.name, service.deploy.health)
        if service.deploy.version:
            ask(run, step.colour, service.name, service.deploy.version, naming=run.bundle.release.id)


def ask(run: Run, colour: str, service: str, path: str, *, naming: str = "") -> None:
    """Poll one path of a colour through the edge's inner listener until it answers 200 and names what it should.

    Waiting mends neither a redirect nor a container that ended: both are given up at once.
    """
    limit = run.settings.rollout.served_within
    status, body, unwell = 0, "", list[Container]()

    def settled() -> bool:
        nonlocal status, body, unwell
        status, body = run.host.get(run.settings.edge.probe_port, f"/{colour}/{service}{path}", timeout=min(5, limit))
        unwell = [c for c in run.containers(colour, [service]) if not c.up]
        return (status == 200 and naming in body) or 300 <= status < 400 or bool(unwell)

    until(settled, limit)
    if status != 200 or naming not in body:
        said = f"answered {status} to {path}" if status else f"did not answer to {path}"
        wish = f"it must answer 200 and name release {naming}" if naming else "it must answer 200, without a redirect"
        raise OpsError(
            "\n".join([f"{service} ({colour}) {said}; {wish}: {body.strip()[:200]}", *(diagnose(run, c) for c in unwell)]),
            where=f"{run.host.name}, through the edge",
            then=f"docker logs {run.project(colour)}-{service}-{colour}-1, mend it, inv deploy",
        )


@perform.register
def switch_traffic(step: steps.Switch, run: Run) -> None:
    """Move traffic, then prove through the edge that the new version answers."""
    text = run.bundle.files[f"edge.{step.colour or 'none'}.conf"].replace(GENERATION, str(step.generation))
    switch.switch(run.settings, run.host, run.edge, text, step.generation, nginx.Route(step.colour, step.release))


@perform.register
def drain(step: steps.Drain, run: Run) -> None:
    """Close WebSockets, then wait until the edge's old workers have finished their requests and left."""
    edge = run.edge
    for service in run.bundle.release.of("web"):
        for container in run.containers(step.colour, [service.name]):
            if service.deploy.drain and container.state == "running":
                run.host.try_run(docker("exec", container.name, *service.deploy.drain))
    if not until(lambda: switch.retiring_workers(run.host, edge) == 0, run.settings.rollout.drain_within):
        console.warn(f"requests of {step.colour} were still running after {run.settings.rollout.drain_within:.0f} s")


@perform.register
def stop_colour(step: steps.StopColour, run: Run) -> None:
    """Stop containers, each within its own grace period; keep them, so that going back starts them again."""
    names = [c.name for c in run.containers(step.colour, step.services)]
    if names:
        run.host.run(docker("stop", *names))


@perform.register
def prune(step: steps.Prune, run: Run) -> None:
    """Forget releases that nobody will go back to."""
    for release in step.releases:
        prune_release(run.bundle.release.images, release, run.host)
        run.host.remove(run.state.bundle_folder(release))
