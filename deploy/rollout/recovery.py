"""After an interruption: go on, or go back. The journal says what was wanted, the facts say what is."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Locked, OpsError, Refused, acting, half_way
from deploy.core.model import Facts
from deploy.hosts.host import Host
from deploy.rollout import drift, preflight
from deploy.rollout.carry_out import Outcome, came_of, carry_out
from deploy.rollout.execute import execute_all
from deploy.rollout.lineage import record_of, schema_of
from deploy.rollout.plan import back
from deploy.rollout.planning import others
from deploy.site import rebuild
from deploy.site.facts import observe, observe_all, telling
from deploy.site.run import Fleet, Run, of, standing, standing_on
from deploy.state import lock
from deploy.state.store import LEDGER, Bundle, Intention, State, state_of


def resume(at: Environment) -> Outcome | None:
    """Go on towards what the interrupted command wanted; None when nothing was interrupted.

    A journal that lost that line leaves what the edge serves: then it is that release that is brought to its end.
    """
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "resume"):
        known, facts = intention(at), observe_all(at)
        target = known.target if known else agreed(facts)
        if not target:
            return None
        # the containers of what served once are all there; of a deploy that was cut off some may be missing
        made, command = bool(known and known.command == "deploy"), known.command if known else "deploy"
        fleet = (of(at, target) if made else standing(at, target, facts)).observed(facts)
        again = f"inv abort; or, where its files are, inv {command}"
        drift.require(fleet, dict.fromkeys(facts, ()), again, forward=command == "deploy")
        outcome = carry_out(fleet, command, resumed=True)
        return outcome if known or outcome.changed else None


def cut_off(at: Environment, hosts: Collection[Host]) -> dict[str, Intention]:
    """Return what was cut off, by the hosts that heard of it; not what the others have left behind them while one was away."""
    told = {name: known for name, known in at.each(lambda host: state_of(at, host).intention(), hosts).items() if known}
    ledgers = at.each(lambda host: state_of(at, host).ledger(), hosts) if told else {}
    ended = at.each(lambda host: state_of(at, host).ended(), hosts) if told else {}  # a ledger may have lost that line
    left = {name: known for name, known in told.items() if not any(known.over(entry) for own in ledgers.values() for entry in own)}
    return {name: known for name, known in left.items() if not any(since > known.since for since in ended.values())}


def intention(at: Environment) -> Intention | None:
    """Return what was cut off; some hosts may not have heard of it. Raises Refused when hosts were told different things."""
    found = cut_off(at, at.hosts)
    if len({(told.command, told.target) for told in found.values()}) > 1:
        said = "; ".join(f"{name}: {told.command} of {told.target}" for name, told in found.items())
        raise Refused(f"different commands were cut off: {said}", then="inv abort, then inv deploy")
    return next(iter(found.values()), None)


def agreed(facts: Mapping[str, Facts]) -> str | None:
    """Return the release that all hosts serve; raise Refused when they differ and no journal says what was wanted."""
    releases = {name: known.edge.release for name, known in facts.items()}
    if len(set(releases.values())) > 1:
        told = ", ".join(f"{name}: {release or 'none'}" for name, release in releases.items())
        then = "inv deploy, or inv deploy --to=RELEASE"
        raise Refused(f"the hosts serve different releases ({told}), and nothing is under way", then=then)
    return next(iter(releases.values()))


def abort(at: Environment) -> Outcome | None:
    """Go back to the release that the ledger calls in service, whatever was begun since; None when there is nothing to undo."""
    began = time.monotonic()
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "abort"):
        facts, begun = observe_all(at), {name: told for name, told in at.each(lambda host: state_of(at, host).intention()).items() if told}
        nowhere_accepted(begun, facts)
        known_there(begun, facts)
        accepted = {name: now.accepted for name, now in facts.items() if now.accepted}
        having = [host for host in at.hosts if host.name in accepted]
        kept = at.each(lambda host: rebuild.release(state_of(at, host), accepted[host.name], facts[host.name].containers), having)
        preflight.roles_stay(kept if begun else {}, facts)
        at.each(lambda host: fits(state_of(at, host), facts[host.name]))
        if not undo(at, facts, begun):
            return None
        after = {name: known.edge for name, known in observe_all(at).items()}
        release = ", ".join(dict.fromkeys(edge.release for edge in after.values() if edge.release))
        places = {name: (edge.colour or "", edge.generation) for name, edge in after.items()}
        return came_of(release, places, changed=True, seconds=round(time.monotonic() - began, 1))


def nowhere_accepted(begun: Mapping[str, Intention], facts: Mapping[str, Facts]) -> None:
    """Refuse to undo on some hosts what is done on others: only the line that says so is missing there."""
    for target in {told.target for told in begun.values()}:
        having = [name for name, known in facts.items() if known.accepted == target]
        everywhere = all(known.edge.release == target for known in facts.values())
        if having and len(having) < len(facts) and (everywhere or any(name not in begun for name in having)):
            names = ", ".join(name for name in facts if name not in having)
            told = f"release {target} serves, and only {names} did not come to write that down"
            raise Refused(told, where=names, then="inv resume, then inv rollback")


def known_there(begun: Mapping[str, Intention], facts: Mapping[str, Facts]) -> None:
    """Refuse to empty a host of what serves there, because its ledger does not say so; but a first release that was begun goes."""
    for name, now in facts.items():
        serves = now.edge.release
        first = name in begun and begun[name].target == serves and not now.unrecorded
        if serves and not (now.accepted or first) and any(c.release == serves and c.alive for c in now.containers):
            raise Refused(f"release {serves} serves on {name}, whose ledger does not know it", where=name, then="inv resume")


def fits(state: State, facts: Facts) -> None:
    """Refuse to go back to code that cannot work on the schema."""
    if facts.accepted and facts.edge.release != facts.accepted:
        release = rebuild.release(state, facts.accepted, facts.containers)
        preflight.schema_fits(release, schema_of(state, release.id), facts.schema, facts.serving)


def undo(at: Environment, facts: Mapping[str, Facts], begun: Mapping[str, Intention]) -> bool:
    """Take all hosts back, in step with each other; tell whether there was anything to undo."""

    def run(host: Host) -> Run | None:
        now = facts[host.name]
        kept = now.accepted or (begun[host.name].target if host.name in begun else now.edge.release)
        there = kept in state_of(at, host).kept() or any(c.release == kept for c in now.containers)
        # what serves in front of a host may never have been there
        return replace(standing_on(at, host, kept, now), going_back=True) if kept and there else None

    runs = {name: made for name, made in at.each(run).items() if made}
    beside = others(runs.values())
    undone = {name: left(one, begun.get(name)) for name, one in runs.items()}
    anew = {name: drift.restorable(one, undone[name], undoing=True) for name, one in runs.items()}
    plans = {
        name: (*drift.restorations(one, undone[name]), *back(
            one.release if one.facts.accepted else None, one.facts, beside, one.leaving, quieted=name in begun, anew=anew[name],
        ))
        for name, one in runs.items()
    }  # fmt: skip
    with half_way("inv abort again, once every host answers"):
        execute_all(Fleet(at, tuple(runs.values())), plans)
    for name in begun.keys() & runs.keys():
        write_down(runs[name].state, begun[name], observe(at.settings, runs[name].host))
    return bool(begun or any(plans.values()))


def left(run: Run, begun: Intention | None) -> Bundle | None:
    """Return the bundle of the release that is undone; None when it is no more here."""
    with suppress(OpsError):
        return run.state.bundle(begun.target if begun else str(run.facts.edge.release))
    return None


def unlock(at: Environment, *, yes: bool) -> str:
    """Say who holds the lock, where, since when and at which step; end a holder of whose operator nothing is heard.

    Raises Locked while the operator lives. A dead one never holds it: the kernel frees it then.
    """
    folder = at.settings.state_dir
    held = {name: found for name, found in at.each(lambda host: lock.holder(host, folder)).items() if found}
    if not held:
        return "nobody holds the lock"
    steps = at.each(lambda host: state_of(at, host).last_step())
    said = (f"{name}: {one.words}, step {steps[name] or 'none'}, heard {one.silent:.0f} s ago" for name, one in held.items())
    words = "\n".join(said)
    if any(found.silent < lock.LATE_SECONDS for found in held.values()):
        then = "wait for it to end, or end that process where it runs; then inv resume or inv abort"
        raise Locked(words, where=", ".join(f"{name}: {folder / 'lock'}" for name in held), then=then)
    console.confirm(f"{words}. Ending it leaves its command interrupted.", yes=yes)
    ended = at.each(lambda host: lock.end(host, folder, held[host.name]), [host for host in at.hosts if host.name in held])
    if not all(ended.values()):
        kept = ", ".join(name for name, gone in ended.items() if not gone)
        raise OpsError(f"it could not be ended on {kept}", where=str(folder / "lock"), then="end its process there")
    return acting(f"{words}; it was ended. inv resume goes on, inv abort goes back", at.settings.env)


def write_down(state: State, known: Intention, after: Facts) -> None:
    """Say in ledger and journal that a command was aborted; of a release without a bundle there is no more to say."""
    with suppress(Refused):
        release = state.release(known.target)
        entry = record_of(release, known.command, known.since, after.edge.colour or "", after.edge.generation)
        try:
            state.record(entry.model_copy(update={"outcome": "aborted"}))
        except OSError as error:
            console.warn(f"that could not be written down: {error.strerror}; {state.folder / LEDGER}")
    state.note(command=known.command, state="aborted", target=known.target)
