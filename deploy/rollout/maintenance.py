"""Put the maintenance page in front of the app, and take it away."""

from __future__ import annotations

from deploy import lock
from deploy.environment import Environment
from deploy.errors import Refused, acting, begun
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe_all, telling
from deploy.rollout.pieces import settle
from deploy.rollout.run import Fleet, Run, run_of
from deploy.rollout.steps import Drain, Switch


def turn(at: Environment, *, on: bool, off: bool) -> str:
    """Serve the page to everybody, or the app again, which runs on behind it; return what is so now."""
    if on == off:
        raise Refused("say --on or --off", then="inv maintenance --on, or inv maintenance --off")
    at = at.facing  # whatever is the matter with the others
    if not at.hosts:
        raise Refused("no host has the role edge", where="[hosts]", then="give one the role edge, then inv deploy")
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "maintenance"):
        facts = observe_all(at)
        if not all(known.edge.release for known in facts.values()):
            raise Refused("there is no release in service", where=at.settings.name, then="inv deploy")
        if down := [name for name, known in facts.items() if not known.edge.running]:
            raise Refused(
                "the edge does not run: it would show the app again once it does", where=", ".join(down), then="inv deploy starts it"
            )
        fleet = Fleet(at, tuple(at.each(lambda host: run_of(at, host, str(facts[host.name].edge.release))).values())).observed(facts)
        with begun(f"inv maintenance --{'on' if on else 'off'} again"):
            turned = fleet.each(lambda run: turn_on(run, on=on))
        if not any(turned.values()):
            return f"maintenance is {'on' if on else 'off'} already"
        return acting(f"maintenance is {'on; inv maintenance --off ends it' if on else 'off'}", at.settings.env)


def turn_on(run: Run, *, on: bool) -> bool:
    """Put the page in front of the app on one host, or take it away; tell whether anything was to be done."""
    edge, beside = run.facts.edge, tuple(c.name for c in run.facts.beside)
    if edge.maintenance == on:
        return False
    switch = Switch(edge.colour, edge.release, edge.next, on, beside)
    execute(run, [*settle(run.facts), switch, Drain(str(edge.colour), edge.generation)])
    return True
