"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from deploy import console
from deploy.model import Facts
from deploy.rollout.carry_out import Outcome
from deploy.rollout.plan import Plan
from deploy.settings import Settings


def plan(known: Mapping[str, Plan], facts: Mapping[str, Facts], drifted: Mapping[str, tuple[str, ...]], *, json: bool) -> None:
    """Show each host's steps, and the shared services that a deploy leaves as they are."""
    if json:
        documents = [{"host": name, **document(known[name], facts[name], drifted[name])} for name in known]
        console.document(documents[0] if len(documents) == 1 else documents)
        return
    console.say(f"wanted: release {next(iter(known.values())).release.id}")
    for name in known:
        with console.speaking(f"{name} | " if len(known) > 1 else ""):
            tell(known[name], facts[name], drifted[name])
    hosts = ["host"] if len(known) > 1 else []
    rows = [[*([name] if hosts else []), at, step] for name, plan in known.items() for at, step in enumerate(plan.steps, 1)]
    if rows:
        console.table([*hosts, "", "step"], rows)
    if any(plan.steps for plan in known.values()):
        console.say("next: inv deploy")


def document(known: Plan, facts: Facts, drifted: tuple[str, ...]) -> dict[str, object]:
    """Return one host's plan, for programs."""
    return {
        "release": known.release.id,
        "serving": facts.edge.release,
        "colour": known.colour,
        "drifted": list(drifted),
        "steps": [{"step": step.name, **asdict(step)} for step in known.steps],
    }


def tell(known: Plan, facts: Facts, drifted: tuple[str, ...]) -> None:
    """Say one host's plan."""
    console.say(f"serves: {facts.serving}")
    if not known.steps:
        console.say("nothing to do: this release already serves")
    if drifted:
        names = ",".join(drifted)
        console.say(f"{', '.join(drifted)}: not as the compose files say now; a deploy leaves shared services alone")
        console.say(f"      inv deploy --include={names} makes them anew, with an outage of some seconds")


def outcome(known: Outcome, settings: Settings, *, json: bool) -> None:
    """Show what a deploy or a rollback came to."""
    if json:
        console.document({"env": settings.env, **asdict(known)})
    elif not known.release:
        console.say("no release is in service")
    elif known.changed:
        if len(known.hosts) > 1:
            rows = [[place.name, known.release, place.colour, place.generation] for place in known.hosts]
            console.table(["host", "release", "colour", "generation"], rows)
        where = f"on {len(known.hosts)} hosts" if len(known.hosts) > 1 else f"{known.colour}, generation {known.generation}"
        console.say(f"release {known.release} serves ({where}) after {known.seconds:.1f} s")
    else:
        console.say(f"nothing to do: release {known.release} already serves")


def recovered(known: Outcome | None, settings: Settings, verb: str, *, json: bool) -> None:
    """Show what a resume or an abort came to; None when there was nothing to recover from."""
    if known:
        outcome(known, settings, json=json)
    elif json:
        console.document({"env": settings.env, "changed": False})
    else:
        console.say(f"nothing to {verb}: no deploy or rollback was interrupted")
