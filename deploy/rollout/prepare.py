"""Bring up what a colour stands on: the edge, the data services, the schema, the jobs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from deploy.core import console
from deploy.core.errors import CommandFailed, Interrupted, OpsError, Unreachable
from deploy.core.model import Schema
from deploy.core.shell import docker
from deploy.core.wait import until
from deploy.database import alembic
from deploy.edge import nginx, switch
from deploy.release.render import HOLDER
from deploy.rollout import steps
from deploy.rollout.health import STEADY_SECONDS, await_healthy
from deploy.rollout.traffic import edge_files, route_to
from deploy.site.run import ONE_OFF_SECONDS, Run

# A disk that was full can leave the engine with the endpoint of a container that has ended, and nothing of that name starts
# until somebody drops it or restarts the engine: docker/cli#1891.
LEFT_OVER = re.compile(r"endpoint with name (\S+) already exists in network (\S+)")


def revert_edge(step: steps.RevertEdge, run: Run) -> None:
    """Let the edge serve again what it was last seen to serve."""
    switch.revert(run.settings, run.host, run.running_edge)


def await_orphans(step: steps.AwaitOrphans, run: Run) -> None:
    """Wait for them: a second migration beside the first would be worse."""
    if not until(lambda: not run.host.engine.one_offs(run.settings.name), ONE_OFF_SECONDS, pause=0.5):
        raise OpsError(
            f"an interrupted run's container still works after {ONE_OFF_SECONDS} s: {', '.join(step.containers)}",
            where=run.host.name,
            then=run.host.typed(f"docker logs {step.containers[0]}") + f"; docker stop {step.containers[0]} there ends it; inv resume",
        )


def prepare_edge(step: steps.PrepareEdge, run: Run) -> None:
    """Give the edge something to start with."""
    route = route_to(run, None, None)
    switch.write(run.settings, run.host, edge_files(run, 1, route), 1, route)
    switch.point(run.settings, run.host, nginx.generation_folder(1), switch.CURRENT, switch.PROVEN)


def create_shared(step: steps.CreateShared, run: Run) -> None:
    """Let Compose create them as the files declare them, for a container that is removed again."""
    run.host.run(run.compose("", "--profile", HOLDER, "create", "--no-recreate", "--no-build", HOLDER))
    run.host.run(run.compose("", "--profile", HOLDER, "rm", "--force", "--stop", HOLDER))


def start_shared(step: steps.StartShared, run: Run) -> None:
    """Start what is missing and wait until it is healthy; what the way back can do without is only warned of."""
    try:
        if run.bundle.release.as_it_is:
            freeing(run, lambda: start_again(run, "", step.services))
        else:
            freeing(run, lambda: run.host.run(run.compose("", "up", "--detach", "--no-recreate", "--no-build", *step.services)))
        await_healthy(steps.AwaitHealthy("", step.services), run, steady=steady(step, run))
    except (Interrupted, Unreachable):
        raise
    except OpsError as error:
        if step.required:
            raise
        console.warn(f"{error.what}\n  the release that is gone back to is started without; {error.then}")


def steady(step: steps.StartShared, run: Run) -> float:
    """Return for how many seconds data without a health check must run: in a crash loop it runs for a moment, too."""
    return STEADY_SECONDS if {s.name for s in run.bundle.release.of("data")} & {*step.services} else 0


def start_colour(step: steps.StartColour, run: Run) -> None:
    """Start replicas up to the number that is wanted."""
    freeing(run, lambda: start_again(run, step.colour, step.services) if run.bundle.release.as_it_is else start_replicas(step, run))


def freeing(run: Run, start: Callable[[], object]) -> None:
    """Start containers; where the engine still holds an endpoint of one that has ended, drop both and start again."""
    freed: set[str] = set()
    while True:
        try:
            start()
            return
        except CommandFailed as error:
            left = LEFT_OVER.search(error.output)
            if not left:
                raise
            if left[0] in freed:
                error.then = run.host.typed("systemctl restart docker") + " drops it; inv deploy"
                raise
            freed.add(left[0])
            container, network = left.groups()
            run.host.run(docker("rm", container))  # refused where it runs after all
            run.host.run(docker("network", "disconnect", "--force", network, container))


def start_again(run: Run, colour: str, services: Iterable[str]) -> None:
    """Start stopped containers as they are: no file says how others would be made."""
    own = run.release.id if colour else ""
    if names := [c.name for c in run.containers(colour, services) if c.release == own and not c.alive]:
        run.host.run(docker("start", *names))


def start_replicas(step: steps.StartColour, run: Run) -> None:
    """Start stopped ones of the same release again, create others anew.

    Stopped ones beyond the number that is wanted go: Compose would choose itself which to remove, also one that runs.
    """
    scale, again, surplus = [], [], []
    for service in (s for s in run.release.services if s.name in step.services):
        own = [c for c in run.containers(step.colour, [service.name]) if c.release == run.release.id]
        alive, stopped = sum(c.alive for c in own), [c.name for c in own if not c.alive]
        number = max(run.replicas(service, step.upto), alive)
        again += stopped[: number - alive]
        surplus += stopped[number - alive :]
        scale.append(f"--scale={service.name}-{step.colour}={number}")
    if surplus:
        run.host.run(docker("rm", *surplus))
    names = [f"{service}-{step.colour}" for service in step.services]
    run.host.run(run.compose(step.colour, "up", "--detach", "--no-deps", "--no-build", *scale, *names))
    if again:  # what stopped on a full disk is listed as running by the engine, and Compose leaves it as it is
        run.host.run(docker("start", *again))


def migrate(step: steps.Migrate, run: Run) -> None:
    """Migrate, then remember which releases the schema still fits."""
    run.one_off(step.colour, step.service, step.command)
    ask = alembic.history_command(step.command)
    if ask:
        revisions = alembic.history(run.one_off(step.colour, step.service, ask))
        at = alembic.current(revisions)
        if at is None:
            raise OpsError(
                "the migration ended well, but the database is at no revision that the image knows",
                where=step.service,
                then="inv logs, and alembic current in the backend",
            )
        run.state.keep_schema(Schema(revision=at, serves=alembic.served_by(revisions, at), release=run.release.id))


def run_job(step: steps.RunJob, run: Run) -> None:
    """Run a job to its end."""
    run.one_off(step.colour, step.service, ())
