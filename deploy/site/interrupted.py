"""Commands that were interrupted, on whatever host, and who goes on with them: the package that owns the command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from deploy.config.environment import Environment
from deploy.core.errors import Interrupted
from deploy.hosts.host import Host
from deploy.state import kept
from deploy.state.journal import RELEASE, Intention
from deploy.state.store import state_of


@dataclass(frozen=True)
class Handler:
    """How an interrupted command goes on, and how it goes back.

    Both show the outcome, as JSON where that is asked for.
    """

    resume: Callable[[Environment, bool], None]
    abort: Callable[[Environment, bool], None]


@dataclass(frozen=True)
class Interruption:
    """One interrupted command, by the hosts that began it; of releases these may have begun different ones."""

    on: Mapping[str, Intention]

    @property
    def newest(self) -> Intention:
        """What was begun last."""
        return max(self.on.values(), key=lambda intention: intention.since)

    @property
    def hosts(self) -> str:
        """The names of its hosts."""
        return ", ".join(self.on)

    def __str__(self) -> str:
        return f"{self.newest} was interrupted on {self.hosts} ({self.newest.since})"


def interruptions(at: Environment, hosts: Iterable[Host] | None = None) -> dict[str, Interruption]:
    """Return the interrupted commands by kind, newest first.

    A host that was unreachable may still have one that the others have ended or followed since: that is none.
    """
    by_host = at.each(lambda host: state_of(at, host).interruptions(), hosts)
    found = []
    for kind in {intention.kind for own in by_host.values() for intention in own}:
        of_kind = {name: one for name, own in by_host.items() for one in own if one.kind == kind}
        if still_open := without_ended(at, kind, of_kind, hosts):
            found.append(Interruption(still_open))
    return {one.newest.kind: one for one in sorted(found, key=lambda one: one.newest.since, reverse=True)}


def without_ended(
    at: Environment, kind: str, intentions: Mapping[str, Intention], hosts: Iterable[Host] | None
) -> dict[str, Intention]:
    """Leave out what is over by the journal of any host or, of releases, by its ledger."""
    ended = at.each(lambda host: state_of(at, host).last_ended(kind), hosts).values()
    left = {name: one for name, one in intentions.items() if not any(map(one.is_followed_by, ended))}
    if kind != RELEASE:
        return left
    ledgers = at.each(lambda host: state_of(at, host).ledger(), hosts).values()
    entries = [entry for ledger in ledgers for entry in ledger]
    return {name: one for name, one in left.items() if not any(map(one.is_over_by, entries))}


def require_no_other(at: Environment, own: str = RELEASE) -> None:
    """Raise Interrupted where a command about something else was interrupted: it may have half done its work."""
    others = [one for kind, one in interruptions(at).items() if kind != own]
    if others:
        words, hosts = "\n".join(map(str, others)), ", ".join(one.hosts for one in others)
        raise Interrupted(words, where=hosts, then="inv resume goes on, inv abort goes back")


def handler(at: Environment, handlers: Mapping[str, Handler], verb: str, usual: str = "deploy") -> Handler:
    """Return who goes on with what was interrupted last, the `usual` one where nothing was.

    Raises Interrupted where this toolkit cannot: nobody in it handles that command, or a newer one began it.
    """
    last = next(iter(interruptions(at).values()), None)
    if last is None:
        return handlers[usual]
    command = last.newest.command
    if any(intention.too_new for intention in last.on.values()):
        what = f"{last}, by a newer toolkit: this one cannot {verb} it"
        raise Interrupted(what, where=last.hosts, then=kept.NEWER, slug="command-unknown")
    if command not in handlers:
        what = f"{last}, and this toolkit has no inv {verb} for {command}"
        then = f"{kept.NEWER}; or inv {command} again"
        raise Interrupted(what, where=last.hosts, then=then, slug="command-unknown")
    return handlers[command]


def question(at: Environment, verb: str) -> str:
    """Return what a person is asked before an interrupted command goes on or back: which one it is, since when."""
    last = next(iter(interruptions(at).values()), None)
    return f"{verb}, since {last}," if last else f"{verb} from what was interrupted"


def resume(at: Environment, handlers: Mapping[str, Handler], *, json: bool) -> None:
    """Go on with what was interrupted last."""
    handler(at, handlers, "resume").resume(at, json)


def abort(at: Environment, handlers: Mapping[str, Handler], *, json: bool) -> None:
    """Go back from what was interrupted last."""
    handler(at, handlers, "abort").abort(at, json)
