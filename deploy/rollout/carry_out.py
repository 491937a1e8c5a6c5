"""Carry a release out: plan, do it, write down what came of it, tell people; on a failure go back to what served."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from deploy import console, hooks, lock, notify
from deploy.errors import Interrupted, MachineFailed, OpsError
from deploy.event import Event
from deploy.model import Facts, Record
from deploy.rollout import plan
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe, serving
from deploy.rollout.lineage import head, record_of, schema_of, too_old
from deploy.rollout.run import Run
from deploy.state import now


@dataclass(frozen=True)
class Outcome:
    """What came of a command: the release that serves, whether anything had to be done, seconds."""

    release: str
    colour: str
    generation: int
    changed: bool
    seconds: float


def carry_out(run: Run, command: str, *, anew: tuple[str, ...] = (), resumed: bool = False) -> Outcome:
    """Plan from the facts, do it, and write down what came of it; on a failure go back to what served.

    What `resumed` has passed its before_deploy hook already.
    """
    started, began, target = now(), time.monotonic(), run.release
    before = whole(run)
    towards = planned(run, before, command, anew)
    event = Event(command, "begins", target.id, target.commit, before=before.edge.release or "", who=lock.who())
    if not towards.steps and before.accepted == target.id:
        if run.state.intention():
            run.state.note(command=command, state="done", target=target.id)
        notify.tell(run.settings, run.host, replace(event, outcome="unchanged", serves=before.serving))
        return Outcome(target.id, towards.colour, towards.generation, False, 0.0)
    if not resumed:
        hooks.gate(run.settings, event)
    run.state.note(command=command, state="begin", target=target.id, serving=before.edge.release)
    entry = record_of(target, command, started, towards.colour, towards.generation)
    try:
        execute(run, towards.steps)
    except OpsError as error:
        raise failed(run, before, entry, event, error) from None
    except OSError as error:
        raise failed(run, before, entry, event, MachineFailed(error, str(run.state.folder))) from error
    except Exception as error:
        raise failed(run, before, entry, event, OpsError(f"{type(error).__name__}: {error}")) from error
    except KeyboardInterrupt:
        raise interrupted(run, event) from None
    seconds = round(time.monotonic() - began, 1)
    schema = schema_of(run.state, target.id) or head(run)
    warning = write_down(run, entry.model_copy(update={"seconds": seconds, "schema_revision": schema}))
    done = replace(event, outcome="in service", serves=f"release {target.id} ({towards.colour})", seconds=seconds, warning=warning)
    tell_success(run, done)
    return Outcome(target.id, towards.colour, towards.generation, True, seconds)


def planned(run: Run, facts: Facts, command: str, anew: tuple[str, ...] = ()) -> plan.Plan:
    """Plan towards the bundle's release."""
    chosen = run.settings.rollout
    return plan.towards(
        run.release, facts, forward=command == "deploy", watch=chosen.watch > 0, warm=chosen.keep_warm, anew=anew,
        old=too_old(run, facts),
    )  # fmt: skip


def whole(run: Run) -> Facts:
    """Observe; where another release is half in service, go back to the one before it first."""
    facts = observe(run.settings, run.host, run.state)
    earlier = plan.undone_first(run.release, facts)
    if not earlier:
        return facts
    console.say(f"release {facts.edge.release} is half in service: back to {earlier} first")
    back = replace(run, bundle=run.state.bundle(earlier), going_back=True)
    execute(back, plan.back(back.release, facts))
    return observe(run.settings, run.host, run.state)


def failed(run: Run, before: Facts, entry: Record, event: Event, error: OpsError) -> OpsError:
    """Go back to what served before, write the failure down, and say what serves now."""
    console.warn("that failed; going back to what served before")
    go_back(run, before)
    try:
        run.state.record(entry.model_copy(update={"outcome": "failed"}))
        run.state.note(command=entry.command, state="failed", target=entry.release, error=error.what)
    except OSError as full:
        console.warn(f"the failure could not be written down: {full}")
    error.serves, error.then = serving(run.settings, run.host), error.then or "mend it, then inv deploy"
    error.code = OpsError.code  # it was tried, whatever the cause
    told = replace(event, outcome="failed", serves=error.serves, error=error.what, then=error.then)
    hooks.follow(run.settings, "on_failure", told)
    notify.tell(run.settings, run.host, told)
    return error


def go_back(run: Run, before: Facts) -> None:
    """Plan from what is there now back to what served, and do it; a second failure is said, the first is the one to report.

    A run that was resumed after its switch found its own release serving: it goes back to the one that was accepted.
    """
    served = before.edge.release if before.edge.release != run.release.id else before.accepted or before.edge.release
    try:
        facts = observe(run.settings, run.host, run.state)
        bundle = run.state.bundle(served) if served else None
        back = replace(run, bundle=bundle or run.bundle, going_back=True)
        execute(back, plan.back(back.release if bundle else None, facts))
    except Exception as error:  # noqa: BLE001  # whatever it is, the first failure must still be written down
        console.warn(f"going back failed as well:\n{error}")


def write_down(run: Run, entry: Record) -> str:
    """Write a release that serves into the ledger; return a warning when the disk is full: that does not make it a bad release."""
    try:
        run.state.record(entry)
        run.state.note(command=entry.command, state="done", target=entry.release)
    except OSError as full:
        warning = f"that could not be written down: {full.strerror}"
        console.warn(f"release {entry.release} serves, but {warning}; make room, then inv resume")
        return warning
    return ""


def tell_success(run: Run, done: Event) -> None:
    """Run the hook and tell people; whoever interrupts that finds a deploy that is done."""
    try:
        warnings = (done.warning, hooks.follow(run.settings, "after_deploy", done))
        notify.tell(run.settings, run.host, replace(done, warning="; ".join(filter(None, warnings))))
    except KeyboardInterrupt:
        console.warn(f"interrupted once {done.serves} was in service; not everybody was told")


def interrupted(run: Run, event: Event) -> Interrupted:
    """Say in which state Ctrl-C left things."""
    serves, then = serving(run.settings, run.host), "inv resume goes on, inv abort goes back"
    notify.tell(run.settings, run.host, replace(event, outcome="interrupted", serves=serves, then=then))
    return Interrupted("interrupted; nothing was undone", serves=serves, then=then)
