"""Put a release into service, or go back to an earlier one."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from deploy import console, lock
from deploy.edge import switch
from deploy.errors import Interrupted, OpsError, Refused
from deploy.hosts.local import LocalHost
from deploy.images import build as images
from deploy.model import Facts, Record
from deploy.rollout import plan, preflight, wanted
from deploy.rollout.execute import Run, execute
from deploy.rollout.facts import observe, serving, telling
from deploy.settings import Settings
from deploy.state import Bundle, State, now


@dataclass(frozen=True)
class Outcome:
    """What came of a command: the release that serves, whether anything had to be done, seconds."""

    release: str
    colour: str
    generation: int
    changed: bool
    seconds: float


def deploy(settings: Settings, host: LocalHost, *, to: str = "") -> Outcome:
    """Build the checkout and put it into service without losing a request; `to` names an earlier release instead."""
    if to:
        return rollback(settings, host, to=to)
    state = State(host, settings.state_dir)
    with telling(settings, host):
        ready = preflight.look(settings, host, observe(settings, host, state))
        with lock.held(settings.state_dir, "deploy"):
            bundle = prepare(settings, host, state, ready)
            return carry_out(Run(settings, host, state, bundle), "deploy", migrate=True)


def rollback(settings: Settings, host: LocalHost, *, to: str = "") -> Outcome:
    """Put an earlier release back into service, with its images, files and secrets; the schema stays."""
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "rollback"):
        facts = observe(settings, host, state)
        target = to or previous(state, facts)
        bundle = state.bundle(target)
        preflight.schema_fits(bundle.release, schema_of(state, target), facts.schema, facts.serving)
        return carry_out(Run(settings, host, state, bundle), "rollback", migrate=False)


def intended(settings: Settings, host: LocalHost) -> tuple[plan.Plan, Facts]:
    """Say what a deploy would do now; only images and the lock-free facts are touched."""
    state = State(host, settings.state_dir)
    with telling(settings, host):
        facts = observe(settings, host, state)
        bundle = assemble(settings, host, state, preflight.look(settings, host, facts))
        return planned(Run(settings, host, state, bundle), facts, migrate=True), facts


def assemble(settings: Settings, host: LocalHost, state: State, ready: preflight.Ready) -> Bundle:
    """Build the images and render the release."""
    built = images.build(settings, host, ready.order)
    return wanted.bundle(settings, ready.model, built, ready.secrets, state)


def prepare(settings: Settings, host: LocalHost, state: State, ready: preflight.Ready) -> Bundle:
    """Assemble a release and keep it on the host."""
    bundle = assemble(settings, host, state, ready)
    edge = bundle.release.of("edge")[0]
    switch.require_version(host, edge.image)
    state.keep(bundle)
    built = [name for name in bundle.release.images if name in bundle.release.config_digests]
    images.keep_for(bundle.release.id, built, bundle.release.images, host)
    return bundle


def planned(run: Run, facts: Facts, *, migrate: bool) -> plan.Plan:
    """Plan towards the bundle's release."""
    return plan.blue_green(run.bundle.release, facts, migrate=migrate, old=too_old(run, facts))


def too_old(run: Run, facts: Facts) -> list[str]:
    """Return the releases beyond those that are kept; what serves and what is wanted are never among them."""
    needed = {run.bundle.release.id, facts.edge.release}
    served = [release for release in run.state.served() if release not in needed]
    kept = needed | set(served[: run.settings.rollout.keep_releases - 1])
    return [release for release in run.state.kept() if release not in kept]


def previous(state: State, facts: Facts) -> str:
    """Return the release that served when the one that serves now was deployed: going back twice goes back by two."""
    served = [entry for entry in state.ledger() if entry.outcome == "in service"]
    arrived = [at for at, entry in enumerate(served) if entry.release == facts.edge.release and entry.command == "deploy"]
    before = [entry.release for entry in served[: arrived[-1] if arrived else 0] if entry.release != facts.edge.release]
    found = before[-1] if before else None
    if not found:
        raise Refused("there is no earlier release to go back to", where=str(state.folder / "ledger.jsonl"), then="inv history")
    return found


def schema_of(state: State, release: str) -> str | None:
    """Return the schema revision that a release's own code is of, as the ledger has it."""
    known = (entry.schema_revision for entry in reversed(state.ledger()) if entry.release == release)
    return next((revision for revision in known if revision), None)  # a failed try left none


def carry_out(run: Run, command: str, *, migrate: bool) -> Outcome:
    """Plan from the facts, do it, and write down what came of it; on a failure go back to what served."""
    started, began = now(), time.monotonic()
    before = observe(run.settings, run.host, run.state)
    towards = planned(run, before, migrate=migrate)
    if not towards.steps:
        return Outcome(run.bundle.release.id, towards.colour, towards.generation, False, 0.0)
    run.state.note(command=command, state="begin", target=run.bundle.release.id, serving=before.edge.release)
    entry = Record(
        release=run.bundle.release.id, revision=run.bundle.release.revision, command=command, outcome="in service",
        colour=towards.colour, generation=towards.generation, schema_revision=None, who=lock.who(), started=started,
        seconds=0, commit_time=run.bundle.release.commit_time,
    )  # fmt: skip
    try:
        execute(run, towards.steps)
    except OpsError as error:
        raise failed(run, before, entry, error) from None
    except Exception as error:
        raise failed(run, before, entry, OpsError(f"{type(error).__name__}: {error}")) from error
    except KeyboardInterrupt:
        raise interrupted(run) from None
    seconds = time.monotonic() - began
    schema = schema_of(run.state, run.bundle.release.id) or head(run)
    run.state.record(entry.model_copy(update={"seconds": round(seconds, 1), "schema_revision": schema}))
    run.state.note(command=command, state="done", target=run.bundle.release.id)
    return Outcome(run.bundle.release.id, towards.colour, towards.generation, True, seconds)


def head(run: Run) -> str | None:
    """Return the schema revision that this release migrated to."""
    schema = run.state.schema()
    return schema.revision if schema and schema.release == run.bundle.release.id else None


def failed(run: Run, before: Facts, entry: Record, error: OpsError) -> OpsError:
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
    return error


def go_back(run: Run, before: Facts) -> None:
    """Plan from what is there now back to what served, and do it; a second failure is said, the first is the one to report."""
    try:
        facts = observe(run.settings, run.host, run.state)
        bundle = run.state.bundle(before.edge.release) if before.edge.release else None
        execute(replace(run, bundle=bundle) if bundle else run, plan.back(bundle.release if bundle else None, facts))
    except (OpsError, OSError) as error:
        console.warn(f"going back failed as well:\n{error}")


def interrupted(run: Run) -> Interrupted:
    """Say in which state Ctrl-C left things."""
    serves = serving(run.settings, run.host)
    return Interrupted("interrupted between two steps; nothing was undone", serves=serves, then="inv deploy goes on from here")
