"""Compare what is there with the release that serves: what is missing, what visitors get, and the next command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, OpsError, acting
from deploy.core.facts import Container, Facts
from deploy.core.model import SHARED, Release, ReleasedService, Role
from deploy.edge import frame
from deploy.hosts.host import Host
from deploy.rollout.health import LOOPBACK, health_through_edge
from deploy.site import rebuild
from deploy.state.journal import RELEASING
from deploy.state.store import State, state_of

Visitors = Literal["served", "errors", "unknown", "maintenance", "stopped", "nothing"]
# the worst of several hosts stands for all
WORST: tuple[Visitors, ...] = ("errors", "unknown", "maintenance", "stopped", "served", "nothing")
RUNNING: tuple[Role, ...] = ("web", "worker", "scheduler", "data", "wal", "edge")  # what runs all the time
URGENCY = ("edge", "data", "web", "scheduler", "worker", "wal")  # what is put right first: others depend on it
WITHOUT = {
    "worker": "queued tasks wait",
    "scheduler": "nothing is scheduled",
    "data": "the app cannot reach it",
    "wal": "no moment from now on can be recovered",
}
PUBLIC_WITHIN = 5  # seconds in which a page must answer, or visitors leave
DOWN = "TakeDown"  # the step that `inv down` begins with


@dataclass(frozen=True)
class View:
    """What one host shows, and what it should: the release that serves there, with the chosen replicas.

    `answers` are the statuses of web services through the edge, `public` that of the first page: 0 without an answer,
    None where it was not asked. `down` says that `inv down` came last, and whether it ended.
    """

    facts: Facts
    release: Release | None = None
    answers: Mapping[str, int] = field(default_factory=dict)
    public: int | None = None
    down: Literal["", "begun", "done"] = ""


@dataclass(frozen=True)
class Finding:
    """One difference: what is so, the next command, and whether visitors are hurt, or nobody can see if they are."""

    what: str
    then: str
    visitors: Visitors = "served"

    @property
    def hurts(self) -> bool:
        """Tell whether visitors get errors, or nobody can see what they get."""
        return self.visitors in ("errors", "unknown")


@dataclass(frozen=True)
class Comparison:
    """The result of comparing the hosts that answer: findings by host, what visitors get, the next command."""

    findings: Mapping[str, tuple[Finding, ...]]
    visitors: Visitors
    then: str = ""

    @property
    def listed(self) -> list[tuple[str, Finding]]:
        """Every finding with its host, those that hurt visitors first."""
        every = [(host, finding) for host, own in self.findings.items() for finding in own]
        return sorted(every, key=lambda one: not one[1].hurts)

    def require_served(self, env: str, serves: str, *, documented: bool = False) -> None:
        """Raise GateClosed, exit 3, where visitors get errors, or nobody can see what they get."""
        bad = [(host, finding) for host, finding in self.listed if finding.hurts]
        if bad:
            unknown = self.visitors == "unknown"
            title = "nobody can see what visitors get" if unknown else "visitors get errors"
            what = "\n    ".join([f"{title}:", *(f"{host}: {acting(finding.what, env)}" for host, finding in bad)])
            where, slug = ", ".join(dict.fromkeys(host for host, _ in bad)), "visitors-unknown" if unknown else ""
            slug = slug or "visitors-get-errors"
            raise GateClosed(what, where=where, serves=serves, then=self.then, slug=slug, documented=documented)


def compare(
    views: Mapping[str, View], *, changing: bool = False, interrupted: bool = False, abortable: bool = True
) -> Comparison:  # fmt: skip
    """Compare every host with its release, and choose the one next command. Pure."""
    findings = {host: judge(view) for host, view in views.items()}
    if not (changing or interrupted):  # a first deploy starts web services before the edge passes anybody on
        findings = {host: own or unserved(views[host]) for host, own in findings.items()}
    visitors: set[Visitors] = {finding.visitors for own in findings.values() for finding in own}
    visitors |= {on_purpose(view) for view in views.values()}
    worst: Visitors = next((one for one in WORST if one in visitors), "nothing")
    first = next((finding.then for own in findings.values() for finding in own), "")
    if changing:
        then = "inv status again, once that has ended"
    elif interrupted:
        then = "inv resume goes on" + (", inv abort goes back" if abortable else "")
    else:
        then = first or {"nothing": "inv deploy", "maintenance": "inv maintenance --off ends it"}.get(worst, "")
    return Comparison(findings, worst, then)


def on_purpose(view: View) -> Visitors:
    """Say what visitors get where nothing is wrong. Pure."""
    if not view.facts.edge.release:
        return "nothing"
    if view.down == "done":
        return "stopped"
    return "maintenance" if view.facts.edge.maintenance else "served"


def judge(view: View) -> tuple[Finding, ...]:
    """Say what differs on one host, most urgent first. Pure."""
    edge = view.facts.edge
    if not edge.release:
        return ()
    if view.down == "done" and not any(c.alive for c in view.facts.containers):
        return (Finding("inv down has stopped it; visitors get nothing", "inv deploy", "stopped"),)
    if edge.forgotten:
        name = next((c.service for c in view.facts.containers if c.role == "edge"), "edge")
        what = "the folder of the edge's configuration was removed: it serves what it has read, and cannot be switched"
        return (Finding(what, f"inv deploy --include={name}"), *answers(view))
    cut = [Finding("inv down was cut off before its end", "inv down again, or inv deploy")] if view.down else []
    return (*cut, *sorted(differences(view), key=lambda one: not one.hurts), *answers(view))


def unserved(view: View) -> tuple[Finding, ...]:
    """Say that web services run and no edge passes visitors on to them, as after the loss of its folder. Pure."""
    names = sorted({c.service for c in view.facts.containers if c.role == "web" and c.colour and c.alive})
    if not names or view.facts.edge.release or not view.facts.edge.expected:
        return ()
    what = f"{', '.join(names)} run, and no edge passes visitors on to them: they get nothing"
    return (Finding(what, "inv deploy", "errors"),)


def differences(view: View) -> Iterator[Finding]:
    """Yield what a host lacks of its release, or has too much of, in the order in which it is put right. Pure."""
    if not view.release:
        return
    services = [service for service in view.release.services if service.role in URGENCY]
    for service in sorted(services, key=lambda service: URGENCY.index(service.role)):
        there = own_containers(view.facts, service)
        if words := difference(service, there):
            hurts = service.role == "edge" and view.facts.edge.expected and not view.facts.edge.running
            effect = "visitors get nothing" if hurts else WITHOUT.get(service.role, "") if lacks(there) else ""
            what = f"{service.name} {words}" + (f": {effect}" if effect else "")
            yield Finding(what, next_command(service, there, view.release), "errors" if hurts else "served")


def own_containers(facts: Facts, service: ReleasedService) -> list[Container]:
    """Return a service's containers: of the colour that serves, and those of the other that the edge names. Pure."""
    own = [c for c in facts.containers if c.service == service.name]
    colour = "" if service.role in SHARED else facts.edge.colour
    return [c for c in own if c.colour == colour or c.name in facts.edge.members]


def lacks(there: Sequence[Container]) -> bool:
    """Tell whether no container of a service runs. Pure."""
    return not any(c.state == "running" for c in there)


def difference(service: ReleasedService, there: Sequence[Container]) -> str:
    """Say in what a service's containers differ from what there should be; empty where they do not. Pure."""
    alive = [c for c in there if c.alive]
    if not alive and service.replicas:
        ended = [f"{c.state}, exit code {c.exit_code}" for c in there]
        return f"has stopped ({ended[0]})" if ended else "has no container"
    if len(alive) != service.replicas:
        return f"has {len(alive)} replica(s), and should have {service.replicas}"
    unwell = [c for c in alive if not c.up and c.health != "starting"]
    states = sorted({c.state if c.state != "running" else c.health for c in unwell})
    return f"is {', '.join(states)}, restarted {max(c.restarts for c in unwell)} times" if unwell else ""


def next_command(service: ReleasedService, there: Sequence[Container], release: Release) -> str:
    """Name what puts a service right; what is missing is started by its own release, not the checkout's. Pure."""
    alive = [c for c in there if c.alive]
    if alive and len(alive) != service.replicas and service.role in ("web", "worker"):
        return f"inv scale {service.name}={service.replicas}"
    again = "inv deploy" if release.reconstructed else f"inv deploy --to={release.id}"
    return f"inv logs {service.name} --since=15m" if alive else again


def answers(view: View) -> Iterator[Finding]:
    """Yield what visitors get that they should not. Pure."""
    edge = view.facts.edge
    if not edge.running or edge.maintenance:
        return
    wrong = {name: status for name, status in view.answers.items() if status != 200}
    for name, status in wrong.items():
        what = f"{name} answers {status or 'nothing'} through its edge"
        yield Finding(what, f"inv logs {name} --since=15m", "errors")
    if view.public is not None and (view.public == 0 or view.public >= 500) and not wrong:
        what = f"the first page answers {view.public or 'nothing'} at the edge"
        yield Finding(what, "inv logs --since=15m", "errors")
    if not view.answers and view.public is None:
        yield Finding("no web service could be asked through the edge", "inv logs --since=15m", "unknown")


def missing(view: View) -> list[ReleasedService]:
    """Return the services that should run on a host and have no container there. Pure."""
    if not view.release or view.down == "done":
        return []
    services = [service for service in view.release.of(*RUNNING) if service.replicas]
    return [service for service in services if not own_containers(view.facts, service)]


def view_of(at: Environment, host: Host, facts: Facts) -> View:
    """Look at one host: what its release says, and what it answers."""
    state, edge = state_of(at, host), facts.edge
    release = None
    with suppress(OpsError):
        release = scaled(state, rebuild.release(state, edge.release, facts.containers)) if edge.release else None
    view = View(facts, release)
    if not edge.running or not edge.release:
        return replace(view, down=taken_down(state) if edge.release else "")
    lacking = any(not c.alive for c in facts.shared_existing.values()) or bool(missing(view))
    questions: tuple[Callable[[], Any], ...] = (
        lambda: health_through_edge(at.settings, host, str(edge.colour), release) if release else {},
        lambda: public(at, host), lambda: taken_down(state) if lacking else "",
    )  # fmt: skip
    asked, page, down = host.concurrently(*questions)
    return replace(view, answers=asked, public=page, down=down)


def scaled(state: State, release: Release) -> Release:
    """Return a release with the chosen replicas; with its own where the record of these is damaged."""
    with suppress(OpsError):
        return release if release.reconstructed else release.scaled(state.scale())
    return release


def public(at: Environment, host: Host) -> int | None:
    """Ask for the first page as visitors do, as far as this host's loopback can; return the status."""
    port, name = frame.asked_at(at.settings)
    if at.settings.edge.address not in LOOPBACK and port == at.settings.edge.port:
        return None
    return host.get(port, "/", host=name, timeout=PUBLIC_WITHIN)[0]


def taken_down(state: State) -> Literal["", "begun", "done"]:
    """Tell by the journal whether `inv down` came last, and whether it ended."""
    with suppress(OpsError, OSError):
        for line in state.journal():
            if line.get("step") == DOWN:
                return "begun"
            if line.get("command") in RELEASING:
                return "done" if line["command"] == "down" else ""
    return ""
