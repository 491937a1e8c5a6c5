"""Tell whether containers are healthy, by the engine and through the edge."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.facts import Container
from deploy.core.model import Release, other
from deploy.core.poll import poll, wait_until
from deploy.edge import frame
from deploy.hosts.host import Host
from deploy.site.run import Run

# for so long a container without a health check must run
STEADY_SECONDS = 3
# the status, 0 for none, where the edge does not reach a service
UNREACHED = (0, 404, 502, 504)
# the addresses of an edge that answers on the loopback
LOOPBACK = ("127.0.0.1", "0.0.0.0")  # noqa: S104  # nothing is bound
# an edge that answers at all does so within this
ANSWERS_WITHIN = 2


def await_healthy(run: Run, colour: str, services: Collection[str], upto: int = 0, *, steady: float = 0) -> None:
    """Wait until the containers of some services are healthy; give up at once where one ended or was restarted.

    One without a health check must run for `steady` seconds: in a crash loop it runs for a moment, too. Raises OpsError
    with what each unhealthy container printed last.
    """
    there = run.containers(colour, services)
    expected = sum(run.replicas(s, upto) for s in run.release.services if s.name in services)
    before = {c.name: c.restarts for c in there}  # a restart of last week says nothing about now

    def broken(c: Container) -> bool:
        return c.broken or c.restarts > before.get(c.name, 0)

    up_since = float("inf")
    for _ in poll(run.settings.rollout.healthy_within, pause=0.15):
        there = run.containers(colour, services)
        all_up = len(there) >= expected and all(c.up for c in there)
        up_since = min(up_since, time.monotonic()) if all_up else float("inf")
        is_steady = time.monotonic() - up_since >= (0 if all(c.health for c in there) else steady)
        if any(broken(c) for c in there) or is_steady:
            break
    # broken ones first: others may only wait for them
    unhealthy = sorted((c for c in there if not c.up or broken(c)), key=lambda c: not broken(c))
    if unhealthy or len(there) < expected:
        raise OpsError(
            f"{colour or run.settings.name} did not become healthy:\n" + "\n".join(diagnose(run, c) for c in unhealthy),
            where=run.host.name,
            then=next_command(run, colour, unhealthy, slow=not any(broken(c) for c in unhealthy)),
            slug="unhealthy",
        )


def next_command(run: Run, colour: str, unhealthy: Sequence[Container], *, slow: bool) -> str:
    """Name the next command; a shared service is recreated by another definition only where --include names it.

    `slow`: none has failed, the time was over while they started.
    """
    if not unhealthy:
        return "inv deploy"
    logs, names = run.host.command_line(f"docker logs {unhealthy[0].name}"), ",".join(c.service for c in unhealthy)
    within = f"{run.settings.rollout.healthy_within:g} s"
    more_time = f" (they had {within}: rollout.healthy_within may be too short)" if slow else ""
    if colour:
        return f"{logs}; fix it{more_time}, then inv deploy"
    return f"{logs}; fix it in the compose file{more_time}, then inv deploy --include={names}"


def diagnose(run: Run, container: Container) -> str:
    """Say what is wrong with a container, with the last lines that it printed."""
    ended = f", exit code {container.exit_code}" if container.exit_code else ""
    health = f", {container.health}" if container.health else ""
    engine = run.host.engine
    texts = filter(None, (engine.logs(container.name), engine.health_check(container.name)))
    shown = run.masked("\n".join(texts)).replace("\n", "\n      ")
    return (
        f"    {container.name}: {container.state}{health}{ended}, restarted {container.restarts} times\n      {shown}"
    )


def diagnose_behind_front(run: Run) -> str:
    """Say what is wrong with a release's containers behind another host's edge, which does not show them."""
    try:
        there = run.host.engine.containers(run.settings.name) if run.host.front else ()
        broken = [diagnose(run, c) for c in there if c.release == run.release.id and c.broken]
        return "\n".join([f"on {run.host.name}:", *broken]) if broken else ""
    except (OpsError, OSError):
        return ""


def health_through_edge(
    settings: Settings, host: Host, colour: str, release: Release, timeout: float = 2
) -> dict[str, int]:
    """Ask each web service of a colour for its health through a host's edge; return statuses, 0 without an answer."""
    web = {service.name: f"/{colour}/{service.name}{service.deploy.health}" for service in release.of("web")}
    return {name: host.get(settings.edge.probe_port, path, timeout=timeout)[0] for name, path in web.items()}


def is_serving(run: Run) -> bool:
    """Tell whether what serves is healthy through the edge; before a first release, whether the edge answers."""
    if not run.serving_release or not run.facts.edge.colour:
        return run.host.get(run.settings.edge.probe_port, "/generation", timeout=1)[0] == 200
    return is_healthy_through_edge(run, run.facts.edge.colour, run.serving_release)


def answers_visitors(run: Run) -> bool:
    """Tell whether something answers on the port that visitors use, at the host's loopback."""
    port, name = run.settings.edge.port, frame.visitor(run.settings)
    return run.host.get(port, "/edge-health", host=name, timeout=ANSWERS_WITHIN)[0] != 0


def is_open_to_visitors(run: Run) -> bool:
    """Tell whether visitors are answered, as far as the host can see: true where the edge has no loopback address."""
    return run.settings.edge.address not in LOOPBACK or wait_until(lambda: answers_visitors(run), ANSWERS_WITHIN)


def is_healthy_through_edge(run: Run, colour: str, release: Release) -> bool:
    """Tell whether each web service of a colour is healthy through the edge."""
    statuses = health_through_edge(run.settings, run.host, colour, release, timeout=ANSWERS_WITHIN)
    return all(status == 200 for status in statuses.values())


def edge_reaches_app(run: Run) -> bool:
    """Tell whether the edge reaches a web service of what serves or of what is gone back to; one may be broken."""
    live = run.facts.edge.colour
    places = ((live, run.serving_release), (other(live), run.release))
    able = [(colour, release) for colour, release in places if colour and release]
    return wait_until(lambda: any(answers_through_edge(run, *place) for place in able), ANSWERS_WITHIN)


def answers_through_edge(run: Run, colour: str, release: Release) -> bool:
    """Tell whether a web service of a colour answers through the edge, healthy or not."""
    answered = health_through_edge(run.settings, run.host, colour, release, timeout=run.settings.rollout.served_within)
    return any(status not in UNREACHED for status in answered.values())
