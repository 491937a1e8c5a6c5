"""What each step of a plan does to the facts: a small model of host, engine and edge."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import COLOURS, Release, ReleasedService, upstream_name
from deploy.rollout import steps
from tests.support.samples import container


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
            return replace(facts, edge=EdgeFacts(False, 1, upstreams=upstreams(release, *COLOURS)))
        case steps.StartShared(services):
            shared = started(facts, "", services, release)
            return replace(shared, edge=replace(shared.edge, running=True))
        case steps.StartColour(colour, services, upto):
            return started(facts, colour, services, release, upto)
        case steps.AwaitHealthy(colour, services, upto):
            for service in (s for s in release.services if s.name in services):
                running = sum(c.service == service.name and c.state == "running" for c in facts.of(colour))
                assert running >= wished(service, upto)
            return changed(
                facts,
                {c.name for c in facts.of(colour) if c.service in services and c.state == "running"},
                health="healthy",
            )
        case steps.RegisterColour(colour, services, generation):
            assert generation > facts.edge.generation
            more = {
                name: places
                for name, places in upstreams(release, colour).items()
                if name.rpartition("_")[0] in services
            }
            return replace(
                facts, edge=replace(facts.edge, generation=generation, upstreams={**facts.edge.upstreams, **more})
            )
        case steps.AwaitServed(colour):
            assert facts.edge.running
            assert all(facts.edge.reaches(s, colour) for s in release.of("web")), (
                "nginx answers 404 for what it does not know"
            )
            assert all(c.up and c.release == release.id for c in facts.of(colour, "web") if c.alive)
        case steps.Switch(colour, name, generation, maintenance, beside):
            assert generation > facts.edge.generation
            own = [c.name for c in facts.of(colour or "", "web") if c.alive]
            found = upstreams(release, *COLOURS)
            edge = EdgeFacts(True, generation, colour, name, maintenance, (*own, *beside), upstreams=found)
            return replace(facts, edge=replace(edge, frame=step.frame or facts.edge.frame))
        case steps.Drain() | steps.TemporaryCertificate():
            pass
        case steps.StopColour(colour, services, keep):
            leaving = {c.name for c in facts.of(colour) if c.service in services} - set(keep)
            assert not leaving & set(facts.edge.members), "what the edge names is never stopped"
            return changed(facts, leaving, state="exited", health="")
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
        case steps.RemoveStopped(colour, services):
            gone = {c.name for c in facts.of(colour) if c.service in services and not c.alive}
            return replace(facts, containers=tuple(c for c in facts.containers if c.name not in gone))
        case steps.Migrate() | steps.RecordMigrations() | steps.RunJob() | steps.Prune():
            assert not facts.orphans, "a migration beside one that still runs"
        case _:
            raise AssertionError(step)
    return facts


def upstreams(release: Release, *colours: str) -> dict[str, tuple[str, ...]]:
    """Name the upstreams of a release's web services in some colours, as a generation that was rendered for it has them."""
    return {
        upstream_name(s.name, colour): (f"{s.name}-{colour}-1:{s.deploy.port or 80}", *s.behind_at(colour))
        for s in release.of("web") for colour in colours
    }  # fmt: skip


def changed(facts: Facts, names: Collection[str], **fields: Any) -> Facts:
    """Change some containers."""
    return replace(facts, containers=tuple(replace(c, **fields) if c.name in names else c for c in facts.containers))


def wished(service: ReleasedService, upto: int) -> int:
    """Count the replicas that a step is about."""
    return min(upto or service.replicas, service.replicas)


def started(facts: Facts, colour: str, services: Iterable[str], release: Release, upto: int = 0) -> Facts:
    """Start replicas up to a number; those of another release are recreated."""
    kept = {c.name: c for c in facts.containers}
    for service in (s for s in release.services if s.name in services):
        own = release.id if colour else ""
        gone = {
            name for name, c in kept.items() if (c.colour, c.service) == (colour, service.name) and c.release != own
        }
        assert not gone & {c.name for c in facts.mixed}, "what serves beside another release is recreated"
        kept = {name: c for name, c in kept.items() if name not in gone}
        there = [c for c in kept.values() if (c.colour, c.service) == (colour, service.name)]
        lacking = wished(service, upto) - sum(c.state == "running" for c in there)
        free = {
            container(service.name, colour, own, role=service.role, number=n).name
            for n in range(1, service.replicas + 1)
        }
        fresh = [c.name for c in there if c.state != "running"] + sorted(free - {c.name for c in there})
        for name in fresh[: max(lacking, 0)]:
            kept[name] = replace(container(service.name, colour, own, role=service.role), name=name, health="starting")
    return replace(facts, containers=tuple(kept.values()))


def ended(facts: Facts, victim: Container) -> Facts:
    """Let one container die."""
    died = replace(victim, state="exited", health="")
    gone = tuple(died if c.name == victim.name else c for c in facts.containers)
    return replace(
        facts, containers=gone, edge=replace(facts.edge, running=facts.edge.running and victim.role != "edge")
    )
