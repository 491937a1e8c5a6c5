"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import acting
from deploy.release.changes import IMAGES
from deploy.rollout.apply import Outcome
from deploy.rollout.releases import Proposal


def plan(known: Mapping[str, Proposal], settings: Settings, *, json: bool) -> None:
    """Show each host's steps, what the release changes, and the shared services that a deploy leaves as they are."""
    if json:
        hosts = [{"name": name, **document(one)} for name, one in known.items()]
        console.document({"env": settings.env, "release": next(iter(known.values())).plan.release.id, "hosts": hosts})
        return
    console.say(f"wanted: release {next(iter(known.values())).plan.release.id}")
    for change in together([change for one in known.values() for change in one.changes]):
        console.say(f"    {change}")
    several = len(known) > 1
    for name, one in known.items():
        with console.speaking(f"{name} | " if several else ""):
            tell(one)
    rows = {name: list(enumerate(one.plan.steps, 1)) for name, one in known.items()}
    console.table_of(["", "step"], rows, several=several)
    if any(rows.values()):
        include = ",".join(dict.fromkeys(name for one in known.values() for name in one.refused))
        console.say(acting(f"next: inv deploy{f' --include={include}' if include else ''}", settings.env))
    for name, one in known.items():
        with console.speaking(f"{name} | " if several else ""):
            drift(one, settings)


def together(changes: Sequence[str]) -> list[str]:
    """Say what several hosts' plans change once: each has the images of what runs there. Pure."""
    images = {name for change in changes if change.startswith(IMAGES) for name in change.removeprefix(IMAGES).split(", ")}
    lines = (f"{IMAGES}{', '.join(sorted(images))}" if change.startswith(IMAGES) else change for change in changes)
    return list(dict.fromkeys(lines))


def document(known: Proposal) -> dict[str, object]:
    """Return one host's plan, for programs."""
    return {
        "serving": known.facts.edge.release,
        "colour": known.plan.colour,
        "changes": list(known.changes),
        "drifted": list(known.drifted),
        "refused": {name: list(reasons) for name, reasons in known.refused.items()},
        "left_out": list(known.left_out),
        "steps": [{"step": step.name, **asdict(step)} for step in known.plan.steps],
    }


def tell(known: Proposal) -> None:
    """Say one host's plan."""
    console.say(f"serves: {known.facts.serving}")
    if not known.plan.steps:
        console.say("nothing to do: this release already serves")


def drift(known: Proposal, settings: Settings) -> None:
    """Say which shared services of a host are not as the compose files say, and what makes them so."""
    if known.drifted:
        names = ",".join(known.drifted)
        console.say(f"{', '.join(known.drifted)}: not as the compose files say now; a deploy leaves shared services alone")
        console.say(acting(f"      inv deploy --include={names} recreates them, with an outage of some seconds", settings.env))
    for name, reasons in known.refused.items():
        words = f"{name} {', '.join(reasons)}: inv deploy without --include={name} will refuse this release"
        console.warn(acting(words, settings.env))


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
