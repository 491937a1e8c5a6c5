"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict

from deploy import console
from deploy.model import Facts
from deploy.rollout.plan import Plan
from deploy.rollout.release import Outcome
from deploy.settings import Settings


def plan(known: Plan, facts: Facts, *, json: bool) -> None:
    """Show a plan's steps."""
    if json:
        console.document(
            {
                "release": known.release.id,
                "serving": facts.edge.release,
                "colour": known.colour,
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


def outcome(known: Outcome, settings: Settings, *, json: bool) -> None:
    """Show what a deploy or a rollback came to."""
    if json:
        console.document({"env": settings.env, **asdict(known)})
    elif known.changed:
        console.say(f"release {known.release} serves ({known.colour}, generation {known.generation}) after {known.seconds:.1f} s")
    else:
        console.say(f"nothing to do: release {known.release} already serves")
