"""Plans and outcomes, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import acting
from deploy.release.changes import IMAGES
from deploy.rollout.apply import Outcome
from deploy.rollout.migrations import Status
from deploy.rollout.releases import Proposal


def plan(proposals: Mapping[str, Proposal], settings: Settings, *, json: bool) -> None:
    """Show each host's steps, what the release changes, and the shared services that a deploy leaves as they are."""
    release = next(iter(proposals.values())).plan.release.id
    if json:
        hosts = [{"name": name, **document(one)} for name, one in proposals.items()]
        console.document({"env": settings.env, "release": release, "hosts": hosts})
        return
    console.say(f"desired: release {release}")
    for change in merge_changes([change for one in proposals.values() for change in one.changes]):
        console.say(f"    {change}")
    several = len(proposals) > 1
    for name, one in proposals.items():
        with console.speaking(f"{name} | " if several else ""):
            console.say(f"serves: {one.facts.serving}")
            if not one.plan.steps:
                console.say("nothing to do: this release already serves")
    rows = {name: list(enumerate(one.plan.steps, 1)) for name, one in proposals.items()}
    console.table_of(["", "step"], rows, several=several)
    if any(rows.values()):
        include = ",".join(dict.fromkeys(name for one in proposals.values() for name in one.refused))
        console.say(acting(f"next: inv deploy{f' --include={include}' if include else ''}", settings.env))
    for name, one in proposals.items():
        with console.speaking(f"{name} | " if several else ""):
            drift(one, settings)


def merge_changes(changes: Sequence[str]) -> list[str]:
    """Say what several hosts' plans change once: each has the images of what runs there. Pure."""
    images = [change.removeprefix(IMAGES).split(", ") for change in changes if change.startswith(IMAGES)]
    line = f"{IMAGES}{', '.join(sorted({name for names in images for name in names}))}"
    return list(dict.fromkeys(line if change.startswith(IMAGES) else change for change in changes))


def document(proposal: Proposal) -> dict[str, object]:
    """Return one host's plan, for programs."""
    return {
        "serving": proposal.facts.edge.release,
        "colour": proposal.plan.colour,
        "changes": list(proposal.changes),
        "drifted": list(proposal.drifted),
        "refused": {name: list(reasons) for name, reasons in proposal.refused.items()},
        "left_out": list(proposal.left_out),
        "steps": [{"step": step.name, **asdict(step)} for step in proposal.plan.steps],
    }


def drift(proposal: Proposal, settings: Settings) -> None:
    """Say which shared services of a host are not as the compose files say, and what makes them so."""
    if proposal.drifted:
        names, chosen = ", ".join(proposal.drifted), ",".join(proposal.drifted)
        console.say(f"{names}: not as the compose files say now; a deploy leaves shared services alone")
        recreate = f"      inv deploy --include={chosen} recreates them, with an outage of some seconds"
        console.say(acting(recreate, settings.env))
    for name, reasons in proposal.refused.items():
        words = f"{name} {', '.join(reasons)}: inv deploy without --include={name} will refuse this release"
        console.warn(acting(words, settings.env))


def outcome(result: Outcome, settings: Settings, *, json: bool) -> None:
    """Show what a command led to."""
    if json:
        console.document({"env": settings.env, **asdict(result)})
    elif not result.release:
        console.say("no release is in service")
    elif not result.changed:
        console.say(f"nothing to do: release {result.release} already serves")
    else:
        where = f"{result.colour}, generation {result.generation}"
        if len(result.hosts) > 1:
            rows = [[place.name, result.release, place.colour, place.generation] for place in result.hosts]
            console.table(["host", "release", "colour", "generation"], rows)
            where = f"on {len(result.hosts)} hosts"
        console.say(f"release {result.release} serves ({where}) after {result.seconds:.1f} s")


def recovered(result: Outcome | None, settings: Settings, verb: str, *, json: bool) -> None:
    """Show what a resume or an abort led to; None when nothing was interrupted."""
    if result:
        outcome(result, settings, json=json)
    elif json:
        console.document({"env": settings.env, "changed": False})
    else:
        console.say(f"nothing to {verb}: no deploy or rollback was interrupted")


def migrations(found: Status, *, json: bool) -> None:
    """Show what the database is at, and what is pending."""
    if json:
        console.document(
            {"release": found.release, "revision": found.revision, "pending": [*found.pending], "heads": [*found.heads]}
        )
    else:
        rows = [["revision", found.revision or "none"], ["pending", ", ".join(found.pending) or "none"],
                ["head", ", ".join(found.heads) or "none"], ["of release", found.release]]  # fmt: skip
        console.table(["", "schema"], rows)
