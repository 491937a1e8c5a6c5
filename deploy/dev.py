"""Run the app with hot reload until Ctrl-C; afterwards nothing runs, and the data stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, Interrupted, OpsError, Refused
from deploy.core.facts import Container
from deploy.core.poll import wait_until
from deploy.core.shell import Command, docker
from deploy.hosts.local import LocalHost
from deploy.images import build as images
from deploy.insight import logs
from deploy.release import desired
from deploy.state import locks

READY_SECONDS = 30


def run(at: Environment, *, fresh: bool) -> None:
    """Build what is missing, start everything, print its address, follow its logs; stop it on the way out."""
    settings, host = at.machine
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal stops it as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    host.engine.require()
    with locks.held([host], settings.state_dir, "dev"):
        require_port(settings, host)
        build(settings, host)
        # the sources are mounted: their owner must be able to read them in the containers
        own = {"ENVIRONMENT": settings.name, "OWNER": f"{os.getuid()}:{os.getgid()}"}
        variables = desired.variables(settings, host) | own
        try:
            start(settings, host, variables, fresh=fresh)
            with logs.ending():
                logs.show(at, [], logs.query(since="0s", grep=""), follow=True)
        finally:
            stop(settings, host, variables)


def require_port(settings: Settings, host: LocalHost) -> None:
    """Refuse a port that another program uses; containers of an earlier `inv dev` are taken over."""
    ours = any(c.state == "running" for c in host.engine.containers(settings.name))
    if not ours and not host.port_is_free(settings.edge.address, settings.edge.port):
        what, then = (
            f"another program uses port {settings.edge.port}",
            "stop that program, or OPS_EDGE__PORT=5174 inv dev",
        )
        raise Refused(what, where=host.name, then=then, slug="port-taken")


def build(settings: Settings, host: LocalHost) -> None:
    """Build the images; without a warning of uncommitted changes, which are the rule here."""
    order = images.prepare_order(settings, host)
    images.build(settings, host, replace(order, source=replace(order.source, changes="")))


def start(settings: Settings, host: LocalHost, variables: Mapping[str, str], *, fresh: bool) -> None:
    """Start everything and wait until it is healthy; broken code only warns, since people are working on it."""
    if fresh:
        with console.step("remove the earlier data"):
            host.run(compose(settings, variables, "down", "--volumes", "--remove-orphans"))
    with console.step("start services, migrate the database"):
        try:
            host.run(compose(settings, variables, "up", "--detach", "--remove-orphans"))
        except CommandFailed as error:
            ended = [c for c in host.engine.containers(settings.name) if c.state == "exited" and c.exit_code]
            logs_of = [f"last lines of {c.service}:\n{host.engine.logs(c.name, 40)}" for c in ended]
            what, then = "\n".join(["not all services started:", error.output, *logs_of]), "fix the cause, then inv dev"
            raise OpsError(what, where=settings.name, then=then, slug="services-not-started") from None
    with console.step("wait until all services are healthy", within=READY_SECONDS):
        ready = wait_until(lambda: not unhealthy(settings, host), READY_SECONDS)
    for c in () if ready else unhealthy(settings, host):
        console.warn(
            f"{c.service} is not healthy yet; fix the code and it reloads. Last lines:\n{host.engine.logs(c.name)}"
        )
    console.say(f"\n{settings.app} with hot reload:  http://{settings.edge.address}:{settings.edge.port}")
    console.say(
        "save a file to see the change; Ctrl-C stops everything and keeps the data (to drop it: inv dev --fresh)\n"
    )


def unhealthy(settings: Settings, host: LocalHost) -> list[Container]:
    """Return the containers that should be up and are not."""
    return [c for c in host.engine.containers(settings.name) if not c.up and c.role != "job"]


def stop(settings: Settings, host: LocalHost, variables: Mapping[str, str]) -> None:
    """Stop everything; raise Interrupted when a second Ctrl-C ends that."""
    with suppress(OSError):
        console.say("\nstopping all services; the data stays")
    try:
        host.run(compose(settings, variables, "down", "--remove-orphans"))
    except KeyboardInterrupt:
        what, serves = "interrupted while stopping: some services may still run", "what still runs; the data stays"
        raise Interrupted(what, where=settings.name, serves=serves, then="inv down stops them") from None


def compose(settings: Settings, variables: Mapping[str, str], *words: str) -> Command:
    """Make a Compose command on the environment's own files; it reads no .env file. Pure."""
    files = [word for name in settings.compose for word in ("--file", str(settings.root / name))]
    argv = docker("compose", "--project-name", settings.name, *files, "--env-file", "/dev/null", *words).argv
    return Command(argv, variables)
