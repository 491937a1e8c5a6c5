"""More or fewer replicas of a service, now and in every release to come."""

from __future__ import annotations

from deploy import console, lock
from deploy.errors import OpsError, Refused
from deploy.hosts.host import Host
from deploy.model import Facts, Release, replicas_unfit
from deploy.rollout import plan
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe, serving, telling
from deploy.rollout.run import Run
from deploy.settings import Settings, nearest
from deploy.state import State

MENDS = {"web": "inv scale within that range; inv maintenance --on keeps everybody out", "worker": "inv scale within that range"}


def scale(settings: Settings, host: Host, wish: str) -> str:
    """Bring a service, `SERVICE=N`, to N replicas without losing a request; return what is so now.

    The number holds for every later release; when the new replicas do not get well, the old number stays.
    """
    name, number = read(wish)
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "scale"):
        facts, chosen = observe(settings, host, state), state.scale()
        bundle = state.bundle(ready(state, facts))
        check(bundle.release, name, number)
        state.keep_scale({**chosen, name: number})
        run = Run(settings, host, state, bundle)
        todo = plan.rescale(run.release, facts)
        try:
            execute(run, todo)
        except OpsError as error:
            state.keep_scale(chosen)
            undo(Run(settings, host, state, bundle, going_back=True))
            error.serves, error.then = serving(settings, host), error.then or f"mend it, then inv scale {wish}"
            raise
        return f"{name} has {number} replica(s)" + ("" if todo else " already") + ", in later releases too"


def read(wish: str) -> tuple[str, int]:
    """Split `SERVICE=N`."""
    name, _, number = wish.partition("=")
    if not (name and number.isdecimal()):
        raise Refused(f"`{wish}` is not SERVICE=N", where="inv scale", then="inv scale backend=2, for example")
    return name, int(number)


def ready(state: State, facts: Facts) -> str:
    """Return the release that serves; refuse while there is none, or while another is on its way."""
    if not facts.edge.release:
        raise Refused("there is no release in service", where="inv scale", then="inv deploy")
    if facts.beside or state.intention():
        raise Refused("a deploy was cut off", where="inv scale", then="inv resume goes on, inv abort goes back; then inv scale")
    return facts.edge.release


def check(release: Release, name: str, number: int) -> None:
    """Refuse a service that is not there, or that cannot have so many replicas."""
    known = {service.name: service.role for service in release.services}
    if name not in known:
        raise Refused(f"there is no service `{name}`{nearest(name, known)}", where="inv scale", then=f"one of: {', '.join(known)}")
    unfit = replicas_unfit(known[name], number)
    if unfit:
        raise Refused(
            f"{name} cannot have {unfit}", where="inv scale", then=MENDS.get(known[name], "only a web service or a worker can be scaled")
        )


def undo(run: Run) -> None:
    """Take away what was started; a second failure is said, the first is the one to report."""
    try:
        execute(run, plan.rescale(run.release, observe(run.settings, run.host, run.state), undo=True))
    except OpsError as error:
        console.warn(f"going back failed as well:\n{error}")
