"""What was interrupted, by the journals and ledgers of all hosts; and how its end is recorded."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.facts import Facts
from deploy.hosts.host import Host
from deploy.rollout.lineage import make_record
from deploy.site import interrupted
from deploy.state.journal import RELEASE
from deploy.state.store import LEDGER, Intention, State, state_of


def intentions(at: Environment) -> dict[str, Intention]:
    """Return the deploy or rollback that is not ended in a host's journal, by the hosts that have one."""
    intentions = at.each(lambda host: state_of(at, host).intention())
    return {name: intention for name, intention in intentions.items() if intention}


def interruptions(at: Environment, hosts: Collection[Host]) -> dict[str, Intention]:
    """Return the interrupted deploy or rollback, by host.

    Unlike `intentions` not what a host missed the end of, while it was unreachable.
    """
    releases = interrupted.interruptions(at, hosts).get(RELEASE)
    return dict(releases.on) if releases else {}


def interruption(at: Environment) -> Intention | None:
    """Return what was interrupted, on all hosts or some; raise Refused when hosts began different commands."""
    interrupted = interruptions(at, at.hosts)
    if len({(one.command, one.target) for one in interrupted.values()}) > 1:
        words = "; ".join(f"{name}: {one.command} of {one.target}" for name, one in interrupted.items())
        raise Refused(
            f"different commands were interrupted: {words}", then="inv abort, then inv deploy", slug="hosts-disagree"
        )
    return next(iter(interrupted.values()), None)


def record_aborted(at: Environment, aborted: Mapping[str, Intention], after: Mapping[str, Facts]) -> None:
    """Record on each host that a command was aborted."""
    hosts = [host for host in at.hosts if host.name in aborted]
    at.each(lambda host: record_aborted_on(state_of(at, host), aborted[host.name], after[host.name]), hosts)


def record_aborted_on(state: State, aborted: Intention, after: Facts) -> None:
    """Record in ledger and journal that a command was aborted; in the journal alone where its bundle is gone."""
    with suppress(Refused):
        release, edge = state.release(aborted.target), after.edge
        entry = make_record(release, aborted.command, aborted.since, edge.colour or "", edge.generation)
        try:
            state.record(entry.model_copy(update={"outcome": "aborted"}))
        except OSError as error:
            console.warn(f"that could not be written down: {error.strerror}; {state.folder / LEDGER}")
    state.note(command=aborted.command, state="aborted", target=aborted.target)
