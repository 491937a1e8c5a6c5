"""More or fewer replicas of a service, now and in every release to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Refused, nearest, of_ours
from deploy.core.model import Facts, replicas_unfit
from deploy.hosts.host import Host
from deploy.rollout import plan
from deploy.rollout.execute import execute
from deploy.rollout.recovery import cut_off
from deploy.site.facts import observe, observe_all, serving, telling
from deploy.site.run import Fleet, Run, run_of
from deploy.state import lock

MENDS = {"web": "inv scale within that range; inv maintenance --on keeps everybody out", "worker": "inv scale within that range"}


def scale(at: Environment, wish: str) -> str:
    """Bring a service, `SERVICE=N`, to N replicas on each host that runs it, without losing a request; return what is so now.

    The number holds for every later release; when the new replicas do not get well, the old number stays everywhere.
    """
    name, number = read(wish)
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "scale"):
        facts = observe_all(at)
        if any(known.beside for known in facts.values()) or cut_off(at, at.hosts):
            raise Refused("a deploy was cut off", where="inv scale", then="inv resume goes on, inv abort goes back; then inv scale")
        fleet = Fleet(at, tuple(at.each(lambda host: serving_run(at, host, facts[host.name])).values()))
        having = concerned(fleet, name, number)
        before = fleet.each(lambda run: run.state.scale(), having)
        more = number > max(service.replicas for run in having for service in run.release.services if service.name == name)
        try:
            done = fleet.each(lambda run: rescale(run, {name: number}), having)
            fleet.each(lambda run: run.state.keep_scale({**before[run.host.name], name: number}), having)
        except Exception as cause:
            fleet.each(lambda run: undo(run, before[run.host.name], more=more), having)
            error = of_ours(cause, at.settings.name)
            if not isinstance(error, Interrupted):
                error.code = OpsError.code  # some hosts have begun, so that a refusal is a failure
            error.serves, error.then = serving(at), f"mend it, then inv scale {wish}"
            raise error from cause
        except KeyboardInterrupt:
            told = f"interrupted; some hosts may run another number of {name} than before, and later releases have the number before"
            raise Interrupted(told, serves=serving(at), then=f"inv scale {wish} again, or the number before") from None
        each = " on each host" if len(having) > 1 else ""
        return f"{name} has {number} replica(s){each}" + ("" if any(done.values()) else " already") + ", in later releases too"


def serving_run(at: Environment, host: Host, facts: Facts) -> Run:
    """Return what a step needs to work on the release that serves."""
    if not facts.edge.release:
        raise Refused("there is no release in service", where="inv scale", then="inv deploy")
    return replace(run_of(at, host, facts.edge.release), facts=facts)


def rescale(run: Run, chosen: Mapping[str, int]) -> bool:
    """Bring one host to other numbers of replicas; tell whether anything was to be done."""
    run = replace(run, chosen=chosen)
    todo = plan.rescale(run.release, run.facts)
    execute(run, todo)
    return bool(todo)


def read(wish: str) -> tuple[str, int]:
    """Split `SERVICE=N`."""
    name, _, number = wish.partition("=")
    if not (name and number.isdecimal()):
        raise Refused(f"`{wish}` is not SERVICE=N", where="inv scale", then="inv scale backend=2, for example")
    return name, int(number)


def concerned(fleet: Fleet, name: str, number: int) -> list[Run]:
    """Return the runs on hosts that have the service; refuse one that is nowhere, or that cannot have so many replicas."""
    roles = {service.name: service.role for run in fleet.runs for service in run.release.services}
    if name not in roles:
        raise Refused(f"there is no service `{name}`{nearest(name, roles)}", where="inv scale", then=f"one of: {', '.join(roles)}")
    behind = [run.host.name for run in fleet.runs for s in run.release.services if s.name == name and s.behind]
    if behind:
        told = f"{name} has one container on each host behind the edge of {behind[0]}"
        raise Refused(told, where="inv scale", then="add a host to [hosts], then inv deploy")
    unfit = replicas_unfit(roles[name], number)
    if unfit:
        then = MENDS.get(roles[name], "only a web service or a worker can be scaled")
        raise Refused(f"{name} cannot have {unfit}", where="inv scale", then=then)
    return [run for run in fleet.runs if any(service.name == name for service in run.release.services)]


def undo(run: Run, before: Mapping[str, int], *, more: bool) -> None:
    """Take away what was started, or start what was taken away; a second failure is said, the first is the one to report."""
    try:
        if run.state.scale() != before:
            run.state.keep_scale(before)
        execute(replace(run, going_back=True), plan.rescale(run.release, observe(run.settings, run.host), undo=more))
    except (OpsError, OSError) as error:
        console.warn(f"going back failed as well:\n{error}")
