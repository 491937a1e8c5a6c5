"""Shared services that differ from what a release says: refused where they would fail it, recreated, restored."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from deploy.core import console
from deploy.core.errors import OpsError, acting, refuse
from deploy.core.model import Container, Release, other
from deploy.core.shell import docker
from deploy.core.wait import until
from deploy.rollout import shared, steps
from deploy.rollout.health import STEADY_SECONDS, await_healthy, through_edge
from deploy.site.run import Fleet, Run
from deploy.state.store import Bundle

POLL_SECONDS = 0.02
# what the edge says, or nothing, where it does not reach a service
UNREACHED = (0, 404, 502, 504)
# an edge that answers at all does so within this
ANSWERS_WITHIN = 2


def desired(run: Run) -> dict[str, shared.Spec]:
    """Read what a run's release says of shared services; nothing where its files are gone."""
    return shared.read(run.bundle.files.get("shared.yml", ""))


def drifted(run: Run) -> tuple[str, ...]:
    """Name the data services and the edge that are made of something else than is desired; a deploy leaves them."""
    return shared.drifted(desired(run), run.facts.shared_existing)


def chosen(names: Collection[str], run: Run) -> tuple[str, ...]:
    """Return those that `--include` names and that differ from the files, lack what they must have, or are unwell."""
    there = {name: c for name, c in run.facts.shared_existing.items() if name in names and name in desired(run)}
    now = clock(run, there.values())
    differ = {*drifted(run), *(shared.lacking(run.bundle.files, there) if there else ())}
    return tuple(name for name, c in there.items() if name in differ or shared.is_unwell(c, now))


def restorable(run: Run, left: Bundle | None, *, undoing: bool = False) -> tuple[str, ...]:
    """Name the shared services that the release which is `left` recreated, and that fail now: going back restores them.

    Where what was begun is undone, one restart since then is a failure, and so is an edge without a mount that it had.
    """
    if not left:
        return ()
    there, specs, leaving = run.facts.shared_existing, desired(run), shared.read(left.files.get("shared.yml", ""))
    names = shared.restorable(specs, leaving, there, former(run, left.release.id, leaving))
    now = clock(run, [there[name] for name in names])

    def fails(c: Container) -> bool:
        bare = undoing and c.role == "edge" and shared.mounts_lacking(specs[c.service], c.mounts)
        return bool(bare) or shared.is_unwell(c, now, ever=undoing) or (c.role == "edge" and not reaches(run))

    return tuple(name for name in names if fails(there[name]))


def restorations(run: Run, left: Bundle | None) -> tuple[steps.RecreateShared, ...]:
    """Restore what an undone release recreated and what fails now, where the release gone back to never applied what it says of it.

    It is made as it was, by the files of a release that say so; nothing where none is kept.
    """
    if not left:
        return ()
    there, leaving = run.facts.shared_existing, shared.read(left.files.get("shared.yml", ""))
    was = {
        name: made_of for name, made_of in former(run, left.release.id, leaving).items()
        if name in there and there[name].made_of == leaving[name].made_of and made_of != getattr(desired(run).get(name), "made_of", "")
    }  # fmt: skip
    now = clock(run, [there[name] for name in was])
    failing = [name for name in was if shared.is_unwell(there[name], now, ever=True) or (there[name].role == "edge" and not reaches(run))]
    found = {name: made_as(run, name, was[name]) for name in failing}
    return tuple(steps.RecreateShared((name,), (there[name].made_of,), release) for name, release in found.items() if release)


def made_as(run: Run, service: str, made_of: str) -> str:
    """Return a release that is kept here and whose files make a service so; empty where there is none."""
    for release in run.state.kept():
        spec = shared.read(run.state.text(release, "shared.yml")).get(service)
        if spec and spec.made_of == made_of:
            return release
    return ""


def former(run: Run, release: str, leaving: Mapping[str, shared.Spec]) -> dict[str, str]:
    """Read from the journal what services were made of when a release recreated them, and not as itself says."""
    found: dict[str, str] = {}
    for line in run.state.journal():
        if (line.get("step"), line.get("state"), line.get("target")) == (steps.RecreateShared.__name__, "begin", release):
            with suppress(KeyError, TypeError, ValueError):  # a line of another hand
                details = line["details"]
                own = zip(details["services"], details["former"], strict=True)
                found = {name: was for name, was in own if name in leaving and was != leaving[name].made_of} | found
    return found


def clock(run: Run, containers: Iterable[Container]) -> str:
    """Ask a host for the time, where a container that runs has been restarted; by nothing else a crash loop is told."""
    return run.host.now() if any(c.state == "running" and c.restarts for c in containers) else ""


def failing(run: Run, anew: Collection[str]) -> dict[str, str]:
    """Say which shared services fail as they are, while the files have something else, which no deploy applies unasked."""
    there = {name: run.facts.shared_existing[name] for name in drifted(run) if name not in anew}
    now = clock(run, there.values())
    words = "is {0.state}, restarted {0.restarts} times, and is made of something else than the files say"
    return {name: words.format(c) for name, c in there.items() if shared.is_failing(c, now)}


def obstacles(run: Run, anew: Collection[str] = (), *, forward: bool = True) -> dict[str, list[str]]:
    """Say why a release cannot be served with the shared services as they are; those in `anew` will be recreated."""
    found = shared.lacking(run.bundle.files, run.facts.shared_existing)
    for name, words in failing(run, anew).items() if forward else ():
        found[name] = [words, *found.get(name, [])]
    return {name: reasons for name, reasons in found.items() if name not in anew}


def require(fleet: Fleet, anew: Mapping[str, Collection[str]], again: str, *, forward: bool = True) -> None:
    """Refuse a release that the shared services as they are cannot serve; `again` is the command that was given."""
    doubled = fleet.each(lambda run: shared.doubled(desired(run), run.facts.shared_existing))
    stops = [run.host.typed(f"docker stop {old}") for run in fleet.runs for old in doubled[run.host.name]]
    words = [f"{host}: {text}" for host, own in doubled.items() for text in own.values()]
    then = f"{'; '.join(stops)}, then {again}: what needs that data fails until the release serves"
    refuse("two data services would write to one volume:", words, where=", ".join(h for h, own in doubled.items() if own), then=then)
    found = fleet.each(lambda run: obstacles(run, anew[run.host.name], forward=forward))
    reasons = [(host, name, text) for host, own in found.items() for name, texts in own.items() for text in texts]
    mistakes = [f"{host}: {name} {text}" for host, name, text in reasons]
    names, where = (list(dict.fromkeys(reason[part] for reason in reasons)) for part in (1, 0))
    then = f"{again} --include={','.join(names)} recreates what it names as the release says, an outage of some seconds"
    refuse("shared services as they are cannot serve this release:", mistakes, where=", ".join(where), then=then)


@dataclass
class Silence:
    """For how long the app did not answer, from one answer to the next."""

    began: float
    before: bool  # it answered when this began
    last: float  # when it answered last
    longest: float = 0.0
    over: bool = True
    public: bool = False  # visitors' own port answered, too

    def look(self, *, answered: bool) -> None:
        """Count one look; a silence that has not ended counts up to now."""
        now = time.monotonic()
        self.longest, self.over = max(self.longest, now - self.last), answered
        self.last = now if answered else self.last


def recreate(step: steps.RecreateShared, run: Run) -> None:
    """Recreate services as the release says, and measure for how long the app does not answer.

    Raises OpsError where they do not become healthy, or where the app answered before and does not after.
    """
    names = ", ".join(step.services)
    console.say(f"     {names}: stopped, recreated and started; what needs them fails for some seconds")
    say_routes(step, run)
    measured = bool(run.release.of("edge"))
    before = measured and until(lambda: answers(run), ANSWERS_WITHIN)
    begin = time.monotonic()
    silence = Silence(begin, before, begin, public=before and is_public(run))
    with ThreadPoolExecutor(1) as pool:
        made = pool.submit(make, step, run)
        if measured:
            measure(made, silence, run)
        made.result()
    found = outcome(step, silence, run.host.name) if measured else "not measured: there is no edge here"
    console.say(f"     {found}; all healthy after {time.monotonic() - begin:.1f} s")


def say_routes(step: steps.RecreateShared, run: Run) -> None:
    """Say which mounts the routes that serve now will lack until the switch: no health check measures that."""
    serving, edges = run.leaving, {service.name for service in run.release.of("edge")} & {*step.services}
    if not serving or serving.id == run.release.id or not edges:
        return
    former, specs = shared.read(run.state.text(serving.id, "shared.yml")), desired(run)
    lost = [text for name in edges & {*former} for text in shared.mounts_lacking(former[name], specs[name].mounts)]
    if lost:
        console.warn(f"until the switch the edge of release {serving.id} {', '.join(lost)}: not part of what is measured")


def make(step: steps.RecreateShared, run: Run) -> None:
    """Let Compose recreate services, and wait until they are healthy.

    Containers that serve first join a network of each service that will be on none of theirs: it must reach them from its
    first second.
    """
    containers = run.host.engine.containers(run.settings.name)
    specs = shared.read(run.state.text(step.release, "shared.yml")) if step.release else desired(run)
    for network, container in shared.connections(specs, step.services, containers):
        run.host.run(docker("network", "connect", network, container))
    words = ("up", "--detach", "--no-deps", "--no-build", "--force-recreate", *step.services)
    run.host.run(run.compose("", *words, release=step.release))
    await_healthy(steps.AwaitHealthy("", step.services), run, steady=STEADY_SECONDS)


def measure(made: Future[None], silence: Silence, run: Run) -> None:
    """Ask again and again until the services are healthy and the app answers, or as long as that may take."""
    limits = run.settings.rollout
    patience = limits.healthy_within if silence.before else limits.served_within
    deadline = float("inf")
    while time.monotonic() < deadline:
        done = made.done()
        silence.look(answered=answers(run) and (not silence.public or is_public(run)))
        if done and (silence.over or made.exception()):
            return
        if done and deadline == float("inf"):
            deadline = time.monotonic() + patience
        time.sleep(POLL_SECONDS)


def outcome(step: steps.RecreateShared, silence: Silence, host: str) -> str:
    """Say what was measured; raise OpsError where the app answered before and does not any more."""
    if silence.before and not silence.over:
        raise OpsError(
            f"{', '.join(step.services)} was recreated, and the app has not answered since, for {silence.longest:.1f} s",
            where=f"{host}, through the edge",
            then=f"inv logs {','.join(step.services)}; fix it in the compose file, then inv deploy --include={','.join(step.services)}",
        )
    if silence.before:
        return f"measured: the app did not answer for {silence.longest:.1f} s"
    since = f"it answers {time.monotonic() - silence.began:.1f} s after this began" if silence.over else "it does not now"
    return f"no outage measured: the app did not answer before; {since}"


def answers(run: Run) -> bool:
    """Ask through the edge for the health of what serves; before a first release, the edge alone."""
    if not run.leaving or not run.facts.edge.colour:
        return run.host.get(run.settings.edge.probe_port, "/generation", timeout=1)[0] == 200
    return is_well(run, run.facts.edge.colour, run.leaving)


def is_public(run: Run) -> bool:
    """Tell whether something answers on the port that visitors use; one on another address than this host's own is not asked."""
    return run.host.get(run.settings.edge.port, "/edge-health", host=run.settings.domain, timeout=ANSWERS_WITHIN)[0] != 0


def is_well(run: Run, colour: str, release: Release) -> bool:
    """Ask each web service of a colour for its health, through the edge."""
    return all(status == 200 for status in through_edge(run.settings, run.host, colour, release, timeout=ANSWERS_WITHIN).values())


def reaches(run: Run) -> bool:
    """Tell whether the edge reaches some web service, of what serves or of what is gone back to: others may be at fault themselves."""
    places = [(run.facts.edge.colour, run.leaving), (other(run.facts.edge.colour), run.release)]
    return until(lambda: any(colour and release and is_reached(run, colour, release) for colour, release in places), ANSWERS_WITHIN)


def is_reached(run: Run, colour: str, release: Release) -> bool:
    """Tell whether some web service of a colour answers through the edge, whatever it says of itself."""
    answered = through_edge(run.settings, run.host, colour, release, timeout=run.settings.rollout.served_within)
    return any(status not in UNREACHED for status in answered.values())


def warn_of_failing(run: Run, anew: Collection[str], again: str) -> None:
    """Say which shared services fail and stay as they are, where a release is gone back to all the same."""
    there = {name: c for name, c in run.facts.shared_existing.items() if name not in anew}
    now = clock(run, there.values())
    for name in (name for name, c in there.items() if shared.is_failing(c, now)):
        words = f"{name} is {there[name].state}, restarted {there[name].restarts} times, and stays as it is"
        console.warn(acting(f"{run.host.name}: {words}; {again} --include={name} recreates it", run.settings.env))
