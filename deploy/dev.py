"""The app with hot reload, until Ctrl-C: afterwards nothing runs, and the data stays."""

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
from deploy.core.poll import wait_until
from deploy.core.shell import Command, docker
from deploy.hosts.local import LocalHost
from deploy.images import build as images
from deploy.insight import logs
from deploy.release import wanted
from deploy.state import lock

READY_SECONDS = 30


def run(at: Environment, *, fresh: bool) -> None:
    """Build what is missing, start everything, say where it is, follow what it says; stop it on the way out."""
    settings, host = at.machine
    for number in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal stops it as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    host.engine.require()
    with lock.held([host], settings.state_dir, "dev"):
        require_port(settings, host)
        build(settings, host)
        # the sources are mounted: who may read them here may there
        own = {"ENVIRONMENT": settings.name, "OWNER": f"{os.getuid()}:{os.getgid()}"}
        variables = wanted.variables(settings, host) | own
        try:
            start(settings, host, variables, fresh=fresh)
            with logs.ending():
                logs.show(at, [], logs.query(since="0s", grep=""), follow=True)
        finally:
            stop(settings, host, variables)


def require_port(settings: Settings, host: LocalHost) -> None:
    """Refuse a port that another program has; what an earlier `inv dev` left behind is taken over."""
    ours = any(c.state == "running" for c in host.engine.containers(settings.name))
    if not ours and not host.port_is_free(settings.edge.address, settings.edge.port):
        then = "stop that program, or OPS_EDGE__PORT=5174 inv dev"
        raise Refused(f"port {settings.edge.port} is taken by another program", where=host.name, then=then)


def build(settings: Settings, host: LocalHost) -> None:
    """Build the images, of packages alone: that the code has changes goes without saying."""
    order = images.prepare_order(settings, host)
    images.build(settings, host, replace(order, source=replace(order.source, changes="")))


def start(settings: Settings, host: LocalHost, variables: Mapping[str, str], *, fresh: bool) -> None:
    """Start everything and wait until it is healthy; broken code is no reason to end: it is what is being worked on."""
    if fresh:
        with console.step("remove the data of last time"):
            host.run(compose(settings, variables, "down", "--volumes", "--remove-orphans"))
    with console.step("start services, migrate the database"):
        try:
            host.run(compose(settings, variables, "up", "--detach", "--remove-orphans"))
        except CommandFailed as error:
            ended = [c for c in host.engine.containers(settings.name) if c.state == "exited" and c.exit_code]
            said = "\n".join([error.output, *(f"{c.service} said:\n{host.engine.logs(c.name, 40)}" for c in ended)])
            raise OpsError(f"not everything started:\n{said}", where=settings.name, then="mend it, then inv dev") from None
    with console.step("wait until all is healthy", within=READY_SECONDS):
        ready = wait_until(lambda: all(c.up for c in host.engine.containers(settings.name) if c.role != "job"), READY_SECONDS)
    for c in () if ready else host.engine.containers(settings.name):
        if not c.up and c.role != "job":
            console.warn(f"{c.service} is not healthy yet; mend the code and it reloads. It said:\n{host.engine.logs(c.name)}")
    console.say(f"\n{settings.app} with hot reload:  http://{settings.edge.address}:{settings.edge.port}")
    console.say("save a file and see it; Ctrl-C stops everything, the data stays (inv dev --fresh starts anew)\n")


def stop(settings: Settings, host: LocalHost, variables: Mapping[str, str]) -> None:
    """Stop everything; raise Interrupted when a second Ctrl-C ends that."""
    with suppress(OSError):
        console.say("\nstopping; the data stays")
    try:
        host.run(compose(settings, variables, "down", "--remove-orphans"))
    except KeyboardInterrupt:
        told = "interrupted while everything was stopped: something may still run"
        raise Interrupted(told, where=settings.name, serves="what still runs; the data stays", then="inv down stops it") from None


def compose(settings: Settings, variables: Mapping[str, str], *words: str) -> Command:
    """Make a Compose command on the files of the environment as they are, deaf to any .env file nearby. Pure."""
    files = [word for name in settings.compose for word in ("--file", str(settings.root / name))]
    return Command(docker("compose", "--project-name", settings.name, *files, "--env-file", "/dev/null", *words).argv, variables)
