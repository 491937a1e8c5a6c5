"""Whether containers are well: by the engine, and through the edge."""

from __future__ import annotations

import time
from collections.abc import Sequence

from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.model import Container, Release
from deploy.core.wait import looks
from deploy.hosts.host import Host
from deploy.rollout import steps
from deploy.site.run import Run

# so long must run what has no health check
STEADY_SECONDS = 3


def await_healthy(step: steps.AwaitHealthy, run: Run, *, steady: float = 0) -> None:
    """Wait for the engine's health checks; a container that ended or starts over is given up at once.

    One that has no health check must run for `steady` seconds: in a crash loop it runs for a moment, too.
    """
    seen = run.containers(step.colour, step.services)
    expected = sum(run.replicas(s, step.upto) for s in run.release.services if s.name in step.services)
    before = {c.name: c.restarts for c in seen}  # a restart of last week says nothing about now

    def broken(c: Container) -> bool:
        return c.broken or c.restarts > before.get(c.name, 0)

    up_since = float("inf")
    for _ in looks(run.settings.rollout.healthy_within, pause=0.15):
        seen = run.containers(step.colour, step.services)
        up_since = min(up_since, time.monotonic()) if len(seen) >= expected and all(c.up for c in seen) else float("inf")
        is_steady = time.monotonic() - up_since >= (0 if all(c.health for c in seen) else steady)
        if any(broken(c) for c in seen) or is_steady:
            break
    unwell = [c for c in seen if not c.up or broken(c)]
    if unwell or len(seen) < expected:
        raise OpsError(
            f"{step.colour or run.settings.name} did not become healthy:\n" + "\n".join(diagnose(run, c) for c in unwell),
            where=run.host.name,
            then=way_out(step, run, unwell),
        )


def way_out(step: steps.AwaitHealthy, run: Run, unwell: Sequence[Container]) -> str:
    """Name the next command; a shared service is started as it was until somebody includes it."""
    if not unwell:
        return "inv deploy"
    logs, names = run.host.typed(f"docker logs {unwell[0].name}"), ",".join(c.service for c in unwell)
    return f"{logs}, mend it, inv deploy" if step.colour else f"{logs}; fix it in the compose file, then inv deploy --include={names}"


def diagnose(run: Run, container: Container) -> str:
    """Say what is wrong with a container, with the last lines that it printed."""
    ended = f", exit code {container.exit_code}" if container.exit_code else ""
    health = f", {container.health}" if container.health else ""
    logs = run.masked(run.host.engine.logs(container.name)).replace("\n", "\n      ")
    return f"    {container.name}: {container.state}{health}{ended}, restarted {container.restarts} times\n      {logs}"


def seen_behind(run: Run) -> str:
    """Say what is wrong with a release's containers on a host behind another's edge, which does not see them; empty when nothing is."""
    try:
        found = [c for c in run.host.engine.containers(run.settings.name) if c.release == run.release.id and c.broken]
        return "\n".join([f"on {run.host.name}:", *(diagnose(run, c) for c in found)]) if run.host.front and found else ""
    except (OpsError, OSError):
        return ""


def await_served(step: steps.AwaitServed, run: Run) -> None:
    """Ask through the edge for health and version: each web service of a colour, then each replica by itself."""
    for service in run.release.of("web"):
        here = [f"{c.name}:{service.deploy.port}" for c in run.containers(step.colour, [service.name]) if c.alive]
        replicas = [f"replica/{place}" for place in (*here, *service.behind_at(step.colour))]
        for place in (f"{step.colour}/{service.name}", *replicas):
            ask(run, step.colour, service.name, place, service.deploy.health)
            if service.deploy.version:
                ask(run, step.colour, service.name, place, service.deploy.version, naming=run.release.id)


def ask(run: Run, colour: str, service: str, place: str, path: str, *, naming: str = "") -> None:
    """Poll a path at one place of the edge's inner listener until it answers 200 and names what it should.

    Waiting mends neither a redirect nor a container that ended: both are given up at once.
    """
    limit = run.settings.rollout.served_within
    for _ in looks(limit):
        status, body = run.host.get(run.settings.edge.probe_port, f"/{place}{path}", timeout=min(5, limit))
        unwell = [c for c in run.containers(colour, [service]) if not c.up]
        if (status == 200 and naming in body) or 300 <= status < 400 or unwell:
            break
    if status != 200 or naming not in body:
        container = place.removeprefix("replica/").rpartition(":")[0] if place.startswith("replica/") else ""
        body = run.masked(body.strip())[:200]
        own = container if container.startswith(run.settings.name) else f"{run.project(colour)}-{service}-{colour}-1"
        said = f"answered {status} to {path}" if status else f"did not answer to {path}"
        wish = f"it must answer 200 and name release {naming}" if naming else "it must answer 200, without a redirect"
        raise OpsError(
            "\n".join([f"{container or service} ({colour}) {said}; {wish}: {body}", *(diagnose(run, c) for c in unwell)]),
            where=f"{run.host.name}, through the edge",
            then=run.host.typed(f"docker logs {own}") + ", mend it, inv deploy",
        )


def through_edge(settings: Settings, host: Host, colour: str, release: Release, timeout: float = 2) -> dict[str, int]:
    """Ask each web service of a colour for its health through a host's edge; return the status by name, 0 where nothing answered."""
    web = {service.name: f"/{colour}/{service.name}{service.deploy.health}" for service in release.of("web")}
    return {name: host.get(settings.edge.probe_port, path, timeout=timeout)[0] for name, path in web.items()}
