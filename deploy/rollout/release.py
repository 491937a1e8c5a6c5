"""Put a release into service, or go back to an earlier one."""

from __future__ import annotations

from deploy import lock
from deploy.edge import switch
from deploy.hosts.host import Host
from deploy.images import build as images
from deploy.model import Facts
from deploy.rollout import drift, plan, preflight, wanted
from deploy.rollout.carry_out import Outcome, carry_out, planned
from deploy.rollout.facts import observe, telling
from deploy.rollout.lineage import previous, schema_of
from deploy.rollout.run import Run
from deploy.settings import Settings
from deploy.state import Bundle, State


def deploy(settings: Settings, host: Host, *, to: str = "", include: str = "") -> Outcome:
    """Build the checkout and put it into service without losing a request; `to` names an earlier release instead.

    `include` names shared services, with commas, that are made anew where they drifted: an outage, said before.
    """
    if to:
        return rollback(settings, host, to=to)
    state = State(host, settings.state_dir)
    with telling(settings, host):
        ready = preflight.look(settings, host, observe(settings, host, state), include)
        with lock.held(settings.state_dir, "deploy"):
            bundle = prepare(settings, host, state, ready)
            run = Run(settings, host, state, bundle)
            return carry_out(run, "deploy", anew=drift.chosen(ready.anew, run, observe(settings, host, state)))


def rollback(settings: Settings, host: Host, *, to: str = "") -> Outcome:
    """Put an earlier release back into service, with its images, files and secrets; the schema stays."""
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "rollback"):
        facts = observe(settings, host, state)
        target = to or previous(state, facts)
        bundle = state.bundle(target)
        preflight.schema_fits(bundle.release, schema_of(state, target), facts.schema, facts.serving)
        return carry_out(Run(settings, host, state, bundle), "rollback")


def intended(settings: Settings, host: Host) -> tuple[plan.Plan, Facts, tuple[str, ...]]:
    """Say what a deploy would do now, and which shared services it leaves although they drifted; only images are touched."""
    state = State(host, settings.state_dir)
    with telling(settings, host):
        facts = observe(settings, host, state)
        bundle = assemble(settings, host, state, preflight.look(settings, host, facts))
        run = Run(settings, host, state, bundle)
        return planned(run, facts, "deploy"), facts, drift.drifted(run, facts)


def assemble(settings: Settings, host: Host, state: State, ready: preflight.Ready) -> Bundle:
    """Build the images and render the release."""
    built = images.build(settings, host, ready.order)
    return wanted.bundle(settings, ready.model, built, ready.secrets, state)


def prepare(settings: Settings, host: Host, state: State, ready: preflight.Ready) -> Bundle:
    """Assemble a release and keep it on the host."""
    bundle = assemble(settings, host, state, ready)
    edge = bundle.release.of("edge")[0]
    switch.require_version(host, edge.image)
    state.keep(bundle)
    built = [name for name in bundle.release.images if name in bundle.release.config_digests]
    images.keep_for(bundle.release.id, built, bundle.release.images, host)
    return bundle
