"""Commands that were interrupted, on whatever host, and who goes on with them: the package that owns the command."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

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
    """One interrupted command, on the hosts that began it; of releases these may have begun different ones."""

    on: Mapping[str, Intention]

    @property
    def newest(self) -> Intention:
        """What was begun last."""
        return max(self.on.values(), key=lambda cut: cut.since)

    @property
    def hosts(self) -> str:
        """The names of its hosts."""
        return ", ".join(self.on)

    def __str__(self) -> str:
        return f"{self.newest} was interrupted on {self.hosts} ({self.newest.since})"


def interruptions(at: Environment, hosts: Iterable[Host] | None = None) -> dict[str, Interruption]:
    """Return what was interrupted by kind, newest first.

    Not what other hosts have left behind them while one was away.
    """
    begun = at.each(lambda host: state_of(at, host).interruptions(), hosts)
    kinds = {cut.kind for own in begun.values() for cut in own}
    ledgers = at.each(lambda host: state_of(at, host).ledger(), hosts) if RELEASE in kinds else {}
    entries = [entry for ledger in ledgers.values() for entry in ledger]
    left = []
    for kind in kinds:
        ended = at.each(partial(ended_on, at, kind), hosts).values()
        of_kind = {name: cut for name, own in begun.items() for cut in own if cut.kind == kind}
        newest = {name: cut for name, cut in of_kind.items() if not any(cut.overtaken(*end) for end in ended)}
        on = {name: cut for name, cut in newest.items() if kind != RELEASE or not any(map(cut.over, entries))}
        left += [Interruption(on)] if on else []
    return {one.newest.kind: one for one in sorted(left, key=lambda one: one.newest.since, reverse=True)}


def ended_on(at: Environment, kind: str, host: Host) -> tuple[str, str]:
    """Return when the newest command of a kind began on a host and its run, where that has ended; empty elsewhere."""
    return state_of(at, host).ended(kind)


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
    cut = next(iter(interruptions(at).values()), None)
    if cut is None:
        return handlers[usual]
    command = cut.newest.command
    if any(one.too_new for one in cut.on.values()):
        words = f"{cut}, by a newer toolkit: this one cannot {verb} it"
        raise Interrupted(words, where=cut.hosts, then=kept.NEWER, slug="command-unknown")
    if command not in handlers:
        words, then = (
            f"{cut}, and this toolkit has no inv {verb} for {command}",
            f"{kept.NEWER}; or inv {command} again",
        )
        raise Interrupted(words, where=cut.hosts, then=then, slug="command-unknown")
    return handlers[command]


def question(at: Environment, verb: str) -> str:
    """Say what a person is asked before an interrupted command goes on, or back: which one it is, and since when."""
    cut = next(iter(interruptions(at).values()), None)
    return f"{verb}, since {cut}," if cut else f"{verb} from what was interrupted"


def resume(at: Environment, handlers: Mapping[str, Handler], *, json: bool) -> None:
    """Go on with what was interrupted last."""
    handler(at, handlers, "resume").resume(at, json)


def abort(at: Environment, handlers: Mapping[str, Handler], *, json: bool) -> None:
    """Go back from what was interrupted last."""
    handler(at, handlers, "abort").abort(at, json)
