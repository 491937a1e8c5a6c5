"""Run a command inside a service's container."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, docker
from deploy.insight import services

NOT_THERE = (126, 127)  # what Docker ends with when the image has no such program, or it cannot be run


def run(at: Environment, service: str, words: Sequence[str], *, host: str = "") -> None:
    """Run it with this terminal, or this standard input, as its own, on the first host that has the service or the one named.

    Raises OpsError naming its exit code.
    """
    if not service or not words:
        missing, then = "command" if service else "service", f"inv exec {service or 'SERVICE'} -- COMMAND ARGUMENT..."
        raise Refused(f"no {missing} was given", where="inv exec", then=then, slug="wrong-usage")
    everywhere, unseen = services.find(at, [service])
    found = [one for one in everywhere.values() if host in ("", one.host.name)]
    if host in unseen:
        raise unseen[host]
    if not found:
        names = ", ".join(dict.fromkeys(one.host.name for one in everywhere.values()))
        raise Refused(f"{service} does not run on `{host}`", where=at.settings.name, then=f"--host with one of: {names}")
    container = found[0].container
    if container.state != "running":
        raise Refused(f"{container.name} does not run: {container.state}", where=at.settings.name, then=f"inv logs {service}")
    terminal = all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))
    code = found[0].host.follow(command(container.name, words, terminal=terminal))
    if code:
        absent = "is that program in the image? It may even have no shell"
        then = absent if code in NOT_THERE else f"what it said is above; inv logs {service}"
        raise OpsError(f"`{shlex.join(words)}` ended with {code}", where=container.name, then=then)


def command(container: str, words: Sequence[str], *, terminal: bool) -> Command:
    """Make the command; standard input is passed on in any case. Pure."""
    return docker("exec", "--interactive", *(["--tty"] if terminal else []), container, *words)


def split(line: str, rest: Sequence[str]) -> list[str]:
    """Return a command's words: what stands behind `--` as it is, else one line as a shell would split it. Pure."""
    if rest:
        return [*([line] if line else []), *rest]
    try:
        return shlex.split(line)
    except ValueError as error:
        then = "close the quotes, or put -- before the command: what follows is not split"
        raise Refused(f"the command cannot be split into words: {error}", where="inv exec", then=then) from None
