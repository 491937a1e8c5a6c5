"""Put a release into service, or go back to an earlier one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from deploy import console, lock
from deploy.edge import switch
from deploy.errors import Interrupted, OpsError, Refused
from deploy.hosts.local import LocalHost
from deploy.images import build as images
from deploy.model import Facts, Record
from deploy.rollout import plan, preflight, wanted
from deploy.rollout.execute import Run, execute
from deploy.rollout.facts import observe
from deploy.rollout.steps import Step
from deploy.settings import Settings
from deploy.shell import Secret
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
    values = wanted.secret_values(settings)
    preflight.check(settings, host, observe(settings, host, state))
    with lock.held(settings.state_dir, "deploy"):
        bundle = prepare(settings, host, state, values)
        return carry_out(Run(settings, host, state, bundle), "deploy", migrate=True)


def rollback(settings: Settings, host: LocalHost, *, to: str = "") -> Outcome:
    """Put an earlier release back into service, with its images, files and secrets; the schema stays."""
    state = State(host, settings.state_dir)
    with lock.held(settings.state_dir, "rollback"):
        facts = observe(settings, host, state)
        target = to or previous(state, facts)
        bundle = state.bundle(target)
        preflight.schema_fits(bundle.release, schema_of(state, target), facts.schema, facts.serving)
        return carry_out(Run(settings, host, state, bundle), "rollback", migrate=False)


def intended(settings: Settings, host: LocalHost) -> tuple[plan.Plan, Facts]:
    """Say what a deploy would do now; only images and the lock-free facts are touched."""
    state = State(host, settings.state_dir)
    bundle = assemble(settings, host, state, wanted.secret_values(settings))
    facts = observe(settings, host, state)
    return planned(Run(settings, host, state, bundle), facts, migrate=True), facts


def assemble(settings: Settings, host: LocalHost, state: State, values: dict[str, Secret]) -> Bundle:
    """Build the images and render the release."""
    known = wanted.model(settings, host)
    built = images.build(settings, host)
    return wanted.bundle(settings, known, built, values, state)


def prepare(settings: Settings, host: LocalHost, state: State, values: dict[str, Secret]) -> Bundle:
    """Assemble a release and keep it on the host."""
    bundle = assemble(settings, host, state, values)
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
    return [release for release in served[run.settings.rollout.keep_releases - 1 :] if run.state.has(release)]


def previous(state: State, facts: Facts) -> str:
    """Return the release that served before the one that serves now."""
    found = next((release for release in state.served() if release != facts.edge.release), None)
    if not found:
        raise Refused("there is no earlier release to go back to", serves=facts.serving, then="inv history")
    return found


def schema_of(state: State, release: str) -> str | None:
    """Return the schema revision that a release's own code is of, as the ledger has it."""
    return next((entry.schema_revision for entry in reversed(state.ledger()) if entry.release == release), None)


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
    facts = observe(run.settings, run.host, run.state)
    previous_bundle = run.state.bundle(before.edge.release) if before.edge.release else None
    home = replace(run, bundle=previous_bundle) if previous_bundle else run
    go_back(home, plan.back(previous_bundle.release if previous_bundle else None, facts))
    run.state.record(entry.model_copy(update={"outcome": "failed"}))
    serving = observe(run.settings, run.host, run.state).serving
    run.state.note(command=entry.command, state="failed", target=entry.release, error=error.what)
    error.serves = serving
    return error


def go_back(run: Run, steps: Iterable[Step]) -> None:
    """Do the way back; what cannot be done is said, since the first failure is the one to report."""
    try:
        execute(run, steps)
    except OpsError as error:
        console.warn(f"going back failed as well:\n{error}")


def interrupted(run: Run) -> Interrupted:
    """Say in which state Ctrl-C left things."""
    serving = observe(run.settings, run.host, run.state).serving
    return Interrupted("interrupted between two steps; nothing was undone", serves=serving, then="inv deploy goes on from here")
