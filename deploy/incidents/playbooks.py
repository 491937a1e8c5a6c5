"""Pages for bad nights: what to type, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.core import console
from deploy.core.errors import Refused, acting, nearest

FOLDER = ROOT / "docs" / "playbooks"


@dataclass(frozen=True)
class Playbook:
    """One page: its name, what it is for, its text in Markdown."""

    name: str
    title: str
    text: str


def playbooks(folder: Path = FOLDER) -> dict[str, Playbook]:
    """Read every page, by name."""
    texts = {file.stem: file.read_text() for file in sorted(folder.glob("*.md"))}
    return {name: Playbook(name, text.partition("\n")[0].lstrip("# "), text) for name, text in texts.items()}


def show(at: Environment, name: str, *, json: bool) -> None:
    """Print one page with commands for an environment, or the list of all; raise Refused for one that is none."""
    every = playbooks()
    if not name:
        return show_list(every, at.settings.env, json=json)
    if name not in every:
        what = f"there is no playbook `{name}`{nearest(name, every)}"
        then = f"one of: {', '.join(every)}"
        raise Refused(what, where="inv incident.playbook", then=then, slug="playbook-unknown")
    page = acting(every[name].text.strip(), at.settings.env)
    if json:
        return console.document({"name": name, "title": every[name].title, "page": page})
    return console.lines(())("", page)


def show_list(every: dict[str, Playbook], env: str, *, json: bool) -> None:
    """List every page."""
    if json:
        return console.document([{"name": one.name, "title": one.title} for one in every.values()])
    console.table(["playbook", "when"], [[one.name, one.title] for one in every.values()])
    return console.say(acting("next: inv incident.triage says which; inv incident.playbook NAME shows it", env))
