"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from deploy import console
from deploy.model import Facts
from deploy.rollout.carry_out import Outcome
from deploy.rollout.plan import Plan
from deploy.settings import Settings


def plan(known: Plan, facts: Facts, drifted: tuple[str, ...], *, json: bool) -> None:
    """Show a plan's steps, and the shared services that it leaves as they are."""
    if json:
        console.document(
            {
                "release": known.release.id,
                "serving": facts.edge.release,
                "colour": known.colour,
                "drifted": list(drifted),
                "steps": [{"step": step.name, **asdict(step)} for step in known.steps],
            }
        )
        return
    console.say(f"wanted: release {known.release.id}")
    console.say(f"serves: {facts.serving}")
    if known.steps:
        console.table(["", "step"], [[number, step] for number, step in enumerate(known.steps, 1)])
        console.say("next: inv deploy")
    else:
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
        console.say(f"release {known.release} serves ({known.colour}, generation {known.generation}) after {known.seconds:.1f} s")
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
