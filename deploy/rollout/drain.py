"""Let containers finish what they have begun, and take that back."""

from __future__ import annotations

from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.model import other
from deploy.core.shell import docker
from deploy.core.wait import looks, until
from deploy.edge import switch
from deploy.rollout import steps
from deploy.site.run import Run


def quiet(step: steps.Quiet, run: Run) -> None:
    """Tell workers to take no new tasks; what they have begun they finish, at the latest when they are stopped."""
    deaf = run.tell(run.containers(step.colour, step.services), lambda known: known.drain)
    if deaf:
        raise OpsError(
            f"{', '.join(deaf)} did not stop taking tasks",
            where=run.host.name,
            then=run.host.typed(f"docker logs {deaf[0]}") + ", inv deploy",
        )


def resume(step: steps.Resume, run: Run) -> None:
    """Take back what a drain told."""
    deaf = run.tell(run.containers(step.colour, step.services), lambda known: known.resume)
    if deaf:
        again = run.host.typed(f"docker restart {' '.join(deaf)}")
        raise OpsError(f"{', '.join(deaf)} did not go on", where=run.host.name, then=f"{again}, inv resume")


def drain(step: steps.Drain, run: Run) -> None:
    """Close WebSockets, then wait until the edge's old workers have finished their requests and left.

    WebSockets of replicas that serve on hold those workers as well: they are closed too, and allowed again.
    """
    before, now = (switch.route_of(run.settings, run.host, number).members for number in (step.since, None))
    web = [c for c in run.host.engine.containers(run.settings.name) if c.role == "web"]
    told = [c for c in web if c.name in before or (c.colour == step.colour and c.name not in now)]
    run.tell(told, lambda known: known.drain)
    edge = run.edge if run.bundle.release.of("edge") else run.running_edge
    if edge and not until(lambda: switch.retiring_workers(run.host, edge) == 0, run.settings.rollout.drain_within):
        console.warn(f"requests of {step.colour} were still running after {run.settings.rollout.drain_within:.0f} s")
    run.tell([c for c in told if c.name in now], lambda known: known.resume)


def await_tasks(step: steps.AwaitTasks, run: Run) -> None:
    """Compare what is queued, running or scheduled with what the release that takes over knows.

    Traffic has moved by now: what cannot be told, or takes too long, is said, and is no reason to return to a bad release.
    """
    limit = run.settings.rollout.tasks_within
    words = run.services[step.service].deploy.tasks
    if run.bundle.release.as_it_is:
        console.warn(f"it is not known whether tasks are left that {run.release.id} does not know: its record is gone")
        return
    try:
        asked = next((c.name for c in run.containers(step.colour, [step.service]) if c.state == "running"), "")
        if not asked:
            console.warn(f"{step.service} of {step.colour} runs no more: it cannot be asked which tasks only it knows")
            return
        known = set(run.one_off(other(step.colour), step.service, (*words, "known")).split())
        for _ in looks(limit, pause=1):
            left = set(run.host.run(docker("exec", asked, *words, "pending")).split()) - known
            if not left:
                return
        console.warn(f"after {limit:.0f} s tasks are left that {run.release.id} does not know: {', '.join(sorted(left))}")
    except CommandFailed as error:
        console.warn(f"it is not known whether tasks are left that {run.release.id} does not know: {run.masked(str(error))}")


def stop_colour(step: steps.StopColour, run: Run) -> None:
    """Stop containers, each within its own grace period; keep them, so that going back starts them again."""
    names = [c.name for c in run.containers(step.colour, step.services) if c.alive and c.name not in step.keep]
    if names:
        run.host.run(docker("stop", *names))


def remove_stopped(step: steps.RemoveStopped, run: Run) -> None:
    """Remove containers that were stopped."""
    names = [c.name for c in run.containers(step.colour, step.services) if not c.alive]
    if names:
        run.host.run(docker("rm", *names))
