"""Shared services that differ from a release's files: what is refused for that, recreated, restored."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from deploy.core import console
from deploy.core.errors import acting, refuse
from deploy.core.facts import Container
from deploy.rollout import shared, steps
from deploy.rollout.health import edge_reaches_app, is_open_to_visitors
from deploy.site.run import Fleet, Run
from deploy.state.store import Bundle


def drifted(run: Run) -> tuple[str, ...]:
    """Name the data services and the edge that are made of something else than is desired; a deploy leaves them."""
    return shared.drifted(shared.of_files(run.bundle.files), run.facts.shared_existing)


def to_recreate(names: Collection[str], run: Run) -> tuple[str, ...]:
    """Name the services of `--include` to recreate: they differ from the files, lack something, or are unhealthy."""
    desired = shared.of_files(run.bundle.files)
    there = {name: c for name, c in run.facts.shared_existing.items() if name in names and name in desired}
    now = clock(run, there.values())
    differ = {*drifted(run), *(shared.lacking(run.bundle.files, there) if there else ())}
    forgotten = {name for name, c in there.items() if c.role == "edge" and run.facts.edge.forgotten}
    return tuple(name for name, c in there.items() if name in differ | forgotten or shared.is_unwell(c, now))


def to_restore(run: Run, left: Bundle | None, *, undoing: bool = False) -> tuple[str, ...]:
    """Name the shared services that the release which is `left` recreated, and that fail now: going back restores them.

    Where what was begun is undone, one restart since then is a failure, and so is an edge without a mount that it had,
    or one that visitors do not reach.
    """
    if not left:
        return ()
    there, specs, leaving = run.facts.shared_existing, shared.of_files(run.bundle.files), shared.of_files(left.files)
    names = shared.to_restore(specs, leaving, there, former(run, left.release.id, leaving))
    now = clock(run, [there[name] for name in names])

    def fails(c: Container) -> bool:
        bare = undoing and c.role == "edge" and shared.mounts_lacking(specs[c.service], c.mounts)
        return bool(bare) or shared.is_unwell(c, now, ever=undoing) or is_cut_off(run, c, undoing=undoing)

    return tuple(name for name in names if fails(there[name]))


def is_cut_off(run: Run, c: Container, *, undoing: bool) -> bool:
    """Tell whether this is an edge that reaches no app or, where a run is reverted, that visitors do not reach."""
    return c.role == "edge" and not (edge_reaches_app(run) and (is_open_to_visitors(run) or not undoing))


def restore_steps(run: Run, left: Bundle | None) -> tuple[steps.RecreateShared, ...]:
    """Restore what an undone release recreated and what fails now, where the one gone back to never applied its files.

    It is made as it was, by the files of a release that say so; nothing where none is kept.
    """
    if not left:
        return ()
    there, leaving = run.facts.shared_existing, shared.of_files(left.files)
    restored = {name: spec.made_of for name, spec in shared.of_files(run.bundle.files).items()}
    was = {
        name: made_of
        for name, made_of in former(run, left.release.id, leaving).items()
        if name in there and there[name].made_of == leaving[name].made_of and made_of != restored.get(name, "")
    }
    now = clock(run, [there[name] for name in was])

    def fails(c: Container) -> bool:
        return shared.is_unwell(c, now, ever=True) or is_cut_off(run, c, undoing=True)

    releases = {name: made_as(run, name, made_of) for name, made_of in was.items() if fails(there[name])}
    return tuple(
        steps.RecreateShared((name,), (there[name].made_of,), release) for name, release in releases.items() if release
    )


def by_secrets_alone(run: Run, service: str) -> bool:
    """Tell whether the file of secrets is all in which a service differs from what it was made of, by a kept release.

    A database keeps the password that it was first started with: to recreate it would change nothing.
    """
    made = made_as(run, service, run.facts.shared_existing[service].made_of)
    if not made or not run.bundle.files.get("shared.yml"):
        return False
    before, now = run.state.text(made, "shared.yml"), run.bundle.files["shared.yml"]
    return shared.without_secrets(before, service) == shared.without_secrets(now, service)


def made_as(run: Run, service: str, made_of: str) -> str:
    """Return a release that is kept here and whose files make a service so; empty where there is none."""
    for release in run.state.kept():
        spec = shared.read(run.state.text(release, "shared.yml")).get(service)
        if spec and spec.made_of == made_of:
            return release
    return ""


def former(run: Run, release: str, leaving: Mapping[str, shared.Spec]) -> dict[str, str]:
    """Read from the journal what services were made of when a release recreated them, and not as itself says."""
    begun = (steps.RecreateShared.__name__, "begin", release)
    recreated: dict[str, str] = {}
    for line in run.state.journal():
        if (line.get("step"), line.get("state"), line.get("target")) == begun:
            with suppress(KeyError, TypeError, ValueError):  # a line of another hand
                details = line["details"]
                own = zip(details["services"], details["former"], strict=True)
                earlier = {name: was for name, was in own if name in leaving and was != leaving[name].made_of}
                recreated = earlier | recreated
    return recreated


def clock(run: Run, containers: Iterable[Container]) -> str:
    """Ask a host for the time, where a container that runs has been restarted; nothing else shows a crash loop."""
    return run.host.now() if any(c.state == "running" and c.restarts for c in containers) else ""


def failing(run: Run, recreated: Collection[str]) -> dict[str, str]:
    """Say which shared services fail as they are, while the files have something else, which needs `--include`."""
    there = {name: run.facts.shared_existing[name] for name in drifted(run) if name not in recreated}
    now = clock(run, there.values())
    words = "is {0.state}, restarted {0.restarts} times, and is made of something else than the files say"
    return {name: words.format(c) for name, c in there.items() if shared.is_failing(c, now)}


def obstacles(run: Run, recreated: Collection[str] = (), *, forward: bool = True) -> dict[str, list[str]]:
    """Say why a release cannot be served with the shared services as they are; those in `recreated` will fit."""
    reasons = shared.lacking(run.bundle.files, run.facts.shared_existing)
    for name, words in failing(run, recreated).items() if forward else ():
        reasons[name] = [words, *reasons.get(name, [])]
    return {name: texts for name, texts in reasons.items() if name not in recreated}


def require_fitting(
    fleet: Fleet, recreated: Mapping[str, Collection[str]], retry: str, *, forward: bool = True
) -> None:
    """Refuse a release that the shared services cannot serve as they are.

    `retry` is the command that was given, for the message.
    """
    require_volumes_free(fleet, retry)
    refused = fleet.each(lambda run: obstacles(run, recreated[run.host.name], forward=forward))
    services = dict.fromkeys(name for own in refused.values() for name in own)
    refuse(
        "shared services as they are cannot serve this release:",
        [f"{host}: {name} {why}" for host, own in refused.items() for name, reasons in own.items() for why in reasons],
        where=", ".join(host for host, own in refused.items() if own),
        then=f"{retry} --include={','.join(services)} recreates what it names as the release says, "
        "an outage of some seconds",
        slug="shared-service-differs",
    )


def require_volumes_free(fleet: Fleet, retry: str) -> None:
    """Refuse a release whose data service would write to the volume of another one that still runs."""
    conflicts = fleet.each(
        lambda run: shared.volume_conflicts(shared.of_files(run.bundle.files), run.facts.shared_existing)
    )
    stops = [run.host.command_line(f"docker stop {old}") for run in fleet.runs for old in conflicts[run.host.name]]
    refuse(
        "two data services would write to one volume:",
        [f"{host}: {text}" for host, own in conflicts.items() for text in own.values()],
        where=", ".join(host for host, own in conflicts.items() if own),
        then=f"{'; '.join(stops)}, then {retry}: what needs that data fails until the release serves",
        slug="volume-in-use",
    )


def warn_of_failing(run: Run, recreated: Collection[str], retry: str) -> None:
    """Warn of shared services that fail and that a rollback leaves as they are."""
    there = {name: c for name, c in run.facts.shared_existing.items() if name not in recreated}
    now = clock(run, there.values())
    for name in (name for name, c in there.items() if shared.is_failing(c, now)):
        words = f"{name} is {there[name].state}, restarted {there[name].restarts} times, and stays as it is"
        console.warn(acting(f"{run.host.name}: {words}; {retry} --include={name} recreates it", run.settings.env))
