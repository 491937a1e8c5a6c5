"""More or fewer replicas of a service, now and in every release to come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Refused, nearest, to_ops_error
from deploy.core.facts import Facts
from deploy.core.model import Release, replicas_unfit
from deploy.hosts.host import Host
from deploy.rollout import plan
from deploy.rollout.interrupted_releases import interruptions
from deploy.rollout.pieces import settle
from deploy.rollout.steps import AwaitHealthy, Drain, RemoveStopped, StartColour, Step, StopColour, Switch
from deploy.rollout.turns import replicas
from deploy.site.facts import observe, observe_all, what_serves
from deploy.site.interrupted import require_no_other
from deploy.site.locked import locked
from deploy.site.operation import recorded
from deploy.site.run import Fleet, Run, kept_run
from deploy.site.runner import execute

WITHIN = {
    "web": "inv scale within that range; inv maintenance --on keeps everybody out",
    "worker": "inv scale within that range",
}  # fmt: skip


def scale(at: Environment, wish: str) -> str:
    """Bring a service, `SERVICE=N`, to N replicas on each host that runs it, without losing a request; say what is so.

    The number holds for every later release. Where new replicas do not become healthy, the old number stays everywhere.
    """
    name, number = read(wish)
    with locked(at, "scale"):
        require_no_other(at)
        facts = observe_all(at)
        if any(own.mixed for own in facts.values()) or interruptions(at, at.hosts):
            then = "inv resume goes on, inv abort goes back; then inv scale"
            raise Interrupted("a deploy was interrupted", where="inv scale", then=then)
        fleet = Fleet(at, tuple(at.each(lambda host: serving_run(at, host, facts[host.name])).values()))
        having = require_scalable(fleet, name, number)
        with recorded(at, f"scale {name}={number}", {host: own.edge.release for host, own in facts.items()}):
            changed = rescale_all(fleet, having, name, number)
        each = " on each host" if len(having) > 1 else ""
        return f"{name} has {number} replica(s){each}{'' if changed else ' already'}, in later releases too"


def rescale_all(fleet: Fleet, having: list[Run], name: str, number: int) -> bool:
    """Bring all hosts to a number, or back to the one before when one fails; tell whether anything was to be done."""
    at, before = fleet.at, fleet.each(lambda run: run.state.scale(), having)
    more = number > max(s.replicas for run in having for s in run.release.services if s.name == name)
    try:
        done = fleet.each(lambda run: rescale(run, {name: number}), having)
        fleet.each(lambda run: run.state.keep_scale({**before[run.host.name], name: number}), having)
    except Exception as cause:
        fleet.each(lambda run: revert_scale(run, before[run.host.name], more=more), having)
        error = to_ops_error(cause, at.settings.name)
        if not isinstance(error, Interrupted):
            error.code = OpsError.code  # some hosts have begun, so that a refusal is a failure
        error.serves, error.then = what_serves(at), f"fix it, then inv scale {name}={number}"
        raise error from cause
    except KeyboardInterrupt:
        what = f"interrupted; some hosts may run another number of {name} than before"
        serves, then = what_serves(at), f"inv scale {name}={number} again, or the number before"
        raise Interrupted(f"{what}, and later releases have the number before", serves=serves, then=then) from None
    return any(done.values())


def serving_run(at: Environment, host: Host, facts: Facts) -> Run:
    """Return what a step needs to work on the release that serves."""
    if not facts.edge.release:
        raise Refused(
            "there is no release in service",
            where="inv scale",
            serves="nothing",
            then="inv deploy",
            slug="nothing-runs",
        )
    return replace(kept_run(at, host, facts.edge.release), facts=facts)


def rescale(run: Run, chosen: Mapping[str, int]) -> bool:
    """Bring one host to other numbers of replicas; tell whether anything was to be done."""
    run = replace(run, chosen=chosen)
    steps = plan_scale(run.release, run.facts)
    execute(run, steps)
    return bool(steps)


def plan_scale(desired: Release, facts: Facts, *, undo: bool = False) -> tuple[Step, ...]:
    """Plan other numbers of replicas of what serves: new ones run before the edge names them, others stop after. Pure.

    To `undo` only takes away, whatever else is unhealthy.
    """
    live, edge = str(facts.edge.colour), facts.edge
    lacking = () if undo else plan.lacking(desired, live, facts)
    surplus = [c for s in desired.of("web", "worker") for c in replicas(s.name, facts.of(live))[s.replicas :]]
    surplus_services = tuple(dict.fromkeys(c.service for c in surplus))
    keep = tuple(c.name for c in facts.of(live) if c not in surplus)
    steps: list[Step] = settle(facts)
    if lacking:
        steps += [StartColour(live, lacking), AwaitHealthy(live, lacking)]
        steps += plan.await_served(desired, live, facts)
    if {s.name for s in desired.of("web")} & {*lacking, *surplus_services}:
        steps += [Switch(live, desired.id, edge.next, edge.maintenance), Drain(live, edge.generation)]
    if surplus:
        steps += [StopColour(live, surplus_services, keep), RemoveStopped(live, surplus_services)]
    return tuple(steps)


def read(wish: str) -> tuple[str, int]:
    """Split `SERVICE=N`."""
    name, _, number = wish.partition("=")
    if not (name and number.isdecimal()):
        raise Refused(
            f"`{wish}` is not SERVICE=N", where="inv scale", then="inv scale backend=2, for example", slug="wrong-usage"
        )
    return name, int(number)


def require_scalable(fleet: Fleet, name: str, number: int) -> list[Run]:
    """Return the runs on hosts that have a service; refuse one that is nowhere, or cannot have so many replicas."""
    roles = {service.name: service.role for run in fleet.runs for service in run.release.services}
    if name not in roles:
        what = f"there is no service `{name}`{nearest(name, roles)}"
        raise Refused(what, where="inv scale", then=f"one of: {', '.join(roles)}", slug="service-unknown")
    having = [run for run in fleet.runs if name in {service.name for service in run.release.services}]
    behind = [run.host.name for run in having for s in run.release.services if s.name == name and s.behind]
    if behind:
        what = f"{name} has one container on each host behind the edge of {behind[0]}"
        raise Refused(what, where="inv scale", then="add a host to [hosts], then inv deploy", slug="not-scalable")
    if unfit := replicas_unfit(roles[name], number):
        then = WITHIN.get(roles[name], "only a web service or a worker can be scaled")
        raise Refused(f"{name} cannot have {unfit}", where="inv scale", then=then, slug="not-scalable")
    return having


def revert_scale(run: Run, before: Mapping[str, int], *, more: bool) -> None:
    """Stop what was started, or start what was stopped; a second failure is a warning, the first is reported."""
    try:
        if run.state.scale() != before:
            run.state.keep_scale(before)
        steps = plan_scale(run.release, observe(run.settings, run.host), undo=more)
        execute(replace(run, going_back=True), steps)
    except (OpsError, OSError) as error:
        console.warn(f"going back failed as well:\n{error}")
