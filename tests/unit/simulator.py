"""What each step of a plan does to the facts: a small model of host, engine and edge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from deploy.model import Container, EdgeFacts, Facts, Release
from deploy.rollout import steps
from tests.samples import container


def run(plan: Iterable[steps.Step], facts: Facts, release: Release) -> Facts:
    """Do all steps, watching what must never happen."""
    for step in plan:
        facts = apply(step, facts, release)
        watch(facts)
    return facts


def watch(facts: Facts) -> None:
    """Fail when two schedulers run, or when the edge names a colour that cannot answer."""
    schedulers = [c.name for c in facts.containers if c.role == "scheduler" and c.alive]
    assert len(schedulers) <= 1, schedulers
    if facts.edge.colour and facts.edge.running:
        assert any(c.up and c.release == facts.edge.release for c in facts.of(facts.edge.colour, "web")), facts


def apply(step: steps.Step, facts: Facts, release: Release) -> Facts:
    """Do one step of a plan towards a release."""
    match step:
        case steps.PrepareEdge():
            return replace(facts, edge=EdgeFacts(False, 1))
        case steps.StartShared(services):
            shared = started(facts, "", services, release)
            return replace(shared, edge=replace(shared.edge, running=True))
        case steps.StartColour(colour, services):
            return started(facts, colour, services, release)
        case steps.AwaitHealthy(colour, services):
            assert {c.service for c in facts.of(colour) if c.state == "running"} >= set(services)
            return changed(facts, colour, services, health="healthy")
        case steps.AwaitServed(colour):
            assert facts.edge.running
            assert all(c.up and c.release == release.id for c in facts.of(colour, "web"))
        case steps.Switch(colour, name, generation):
            assert generation > facts.edge.generation
            return replace(facts, edge=EdgeFacts(True, generation, colour, name))
        case steps.Drain(colour):
            assert facts.edge.colour != colour, "what serves is never drained"
        case steps.StopColour(colour, services):
            return changed(facts, colour, services, state="exited", health="")
        case steps.RevertEdge():
            return replace(facts, edge=replace(facts.edge, unproven=0))
        case steps.AwaitOrphans():
            return replace(facts, orphans=())
        case steps.Quiet(colour, services) | steps.Resume(colour, services):
            assert {c.service for c in facts.of(colour) if c.alive} >= set(services)
        case steps.Watch(colour, name):
            assert (facts.edge.colour, facts.edge.release) == (colour, name), "what does not serve cannot be watched"
        case steps.AwaitTasks(colour, service):
            assert any(c.service == service and c.alive for c in facts.of(colour))
        case steps.Migrate() | steps.RunJob() | steps.Prune():
            assert not facts.orphans, "a migration beside one that still runs"
        case _:
            raise AssertionError(step)
    return facts


def changed(facts: Facts, colour: str, services: Iterable[str], **fields: Any) -> Facts:
    """Change some containers of a colour."""
    wanted = set(services)
    return replace(
        facts,
        containers=tuple(replace(c, **fields) if c.colour == colour and c.service in wanted else c for c in facts.containers),
    )


def started(facts: Facts, colour: str, services: Iterable[str], release: Release) -> Facts:
    """Start containers as `compose up` does: those of another release are made anew."""
    roles = {service.name: service.role for service in release.services}
    kept = {c.name: c for c in facts.containers}
    for service in services:
        new = replace(container(service, colour, release.id if colour else "", role=roles[service]), health="starting")
        old = kept.get(new.name)
        kept[new.name] = old if old and old.alive and old.release == new.release else new
    return replace(facts, containers=tuple(kept.values()))


def ended(facts: Facts, victim: Container) -> Facts:
    """Let one container die."""
    died = replace(victim, state="exited", health="")
    gone = tuple(died if c.name == victim.name else c for c in facts.containers)
    return replace(facts, containers=gone, edge=replace(facts.edge, running=facts.edge.running and victim.role != "edge"))
