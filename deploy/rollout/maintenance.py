"""Put the maintenance page in front of the app, and take it away."""

from __future__ import annotations

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused, acting, as_failure
from deploy.core.facts import Facts
from deploy.core.model import Release
from deploy.hosts.host import Host
from deploy.rollout.pieces import settle
from deploy.rollout.steps import Drain, TurnPage
from deploy.site import rebuild
from deploy.site.facts import observe_all
from deploy.site.locked import locked
from deploy.site.operation import recorded
from deploy.site.run import Fleet, Run
from deploy.site.runner import execute
from deploy.state.store import Bundle, state_of


def turn(at: Environment, *, on: bool, off: bool) -> str:
    """Serve the page to everybody, or the app again, which runs on behind it; return what is so now."""
    if on == off:
        raise Refused("say --on or --off", then="inv maintenance --on, or inv maintenance --off", slug="wrong-usage")
    at = at.facing  # whatever is the matter with the others
    if not at.hosts:
        raise Refused(
            "no host has the role edge",
            where="[hosts]",
            then="give one the role edge, then inv deploy",
            slug="hosts-missing",
        )
    with locked(at, "maintenance"):
        facts = observe_all(at)
        if not all(own.edge.release for own in facts.values()):
            raise Refused(
                "there is no release in service", where=at.settings.name, then="inv deploy", slug="nothing-runs"
            )
        if down := ", ".join(name for name, own in facts.items() if not own.edge.running):
            what = "the edge does not run: it would show the app again once it does"
            raise Refused(what, where=down, then="inv deploy starts it", slug="edge-down")
        fleet = Fleet(at, tuple(at.each(lambda host: serving_run(at, host, facts[host.name])).values()))
        if all(own.edge.maintenance == on for own in facts.values()):
            return f"maintenance is {'on' if on else 'off'} already"
        words, serving = (
            f"maintenance --{'on' if on else 'off'}",
            {name: own.edge.release for name, own in facts.items()},
        )
        with as_failure(f"inv {words} again"), recorded(at, words, serving):
            fleet.each(lambda run: turn_on(run, on=on))
        return acting(f"maintenance is {'on; inv maintenance --off ends it' if on else 'off'}", at.settings.env)


def turn_on(run: Run, *, on: bool) -> None:
    """Put the page in front of the app on one host, or take it away, where that is not so already."""
    edge = run.facts.edge
    if edge.maintenance != on:
        execute(run, [*settle(run.facts), TurnPage(on, edge.next), Drain(str(edge.colour), edge.generation)])


def serving_run(at: Environment, host: Host, facts: Facts) -> Run:
    """Return the run of what serves on a host; without its record the page needs no more than what the edge has."""
    release = str(facts.edge.release)
    try:
        bundle = state_of(at, host).bundle(release)
    except Refused as lost:
        console.warn(f"{host.name}: {lost.what}; the page is turned by the files that the edge serves from")
        bundle = Bundle(serving_release(at, host, release, facts), {}, "")
    # a journal that cannot be written is no reason against the page
    return Run(at.settings, host, bundle, facts, going_back=True)


def serving_release(at: Environment, host: Host, release: str, facts: Facts) -> Release:
    """Return a release as its containers show it, or its name alone: its open WebSockets are not closed then."""
    try:
        return rebuild.release(state_of(at, host), release, facts.containers)
    except Refused:
        return Release(
            id=release, revision="", commit="", commit_time="", images={}, config_digests={}, files="", secrets="",
            strategy=at.settings.rollout.strategy, services=(),
        )  # fmt: skip
