"""Put the maintenance page in front of the app, and take it away."""

from __future__ import annotations

from deploy import lock
from deploy.errors import Refused
from deploy.hosts.host import Host
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe, telling
from deploy.rollout.pieces import settle
from deploy.rollout.run import Run
from deploy.rollout.steps import Drain, Switch
from deploy.settings import Settings
from deploy.state import State


def turn(settings: Settings, host: Host, *, on: bool, off: bool) -> str:
    """Serve the page to everybody, or the app again, which runs on behind it; return what is so now."""
    if on == off:
        raise Refused("say --on or --off", then="inv maintenance --on, or inv maintenance --off")
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "maintenance"):
        facts = observe(settings, host, state)
        edge, beside = facts.edge, tuple(c.name for c in facts.beside)
        if not edge.release or not edge.colour:
            raise Refused("there is no release in service", where=settings.name, then="inv deploy")
        if edge.maintenance == on:
            return f"maintenance is {'on' if on else 'off'} already"
        switch = Switch(edge.colour, edge.release, edge.next, on, beside)
        execute(Run(settings, host, state, state.bundle(edge.release)), [*settle(facts), switch, Drain(edge.colour, edge.generation)])
        return f"maintenance is {'on; inv maintenance --off ends it' if on else 'off'}"
