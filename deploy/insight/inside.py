"""Run a command inside a service's container."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, docker
from deploy.insight import services

NO_PROGRAM = (126, 127)  # Docker's exit codes when the image lacks the program, or it cannot be run


def run(at: Environment, service: str, words: Sequence[str], *, host: str = "") -> None:
    """Run a command in a service's container, with this terminal or this standard input as its own.

    It runs on the named host, else on the first that has the service. Raises OpsError naming its exit code.
    """
    if not service or not words:
        missing, then = "command" if service else "service", f"inv exec {service or 'SERVICE'} -- COMMAND ARGUMENT..."
        raise Refused(f"no {missing} was given", where="inv exec", then=then, slug="wrong-usage")
    everywhere, unreachable = services.find(at, [service])
    if host in unreachable:
        raise unreachable[host]
    chosen = next((one for one in everywhere.values() if host in ("", one.host.name)), None)
    if not chosen:
        names = ", ".join(dict.fromkeys(one.host.name for one in everywhere.values()))
        what, then = f"{service} has no container on `{host}`", f"inv exec {service} --host=NAME with one of: {names}"
        raise Refused(what, where=at.settings.name, then=then, slug="service-not-on-host")
    container = chosen.container
    if container.state != "running":
        what = f"{container.name} is not running: {container.state}"
        raise Refused(what, where=at.settings.name, then=f"inv logs {service}", slug="container-not-running")
    terminal = all(stream and stream.isatty() for stream in (sys.stdin, sys.stdout))
    code = chosen.host.follow(command(container.name, words, terminal=terminal))
    if code:
        absent = "check that the program is in the image; it may even have no shell"
        then = absent if code in NO_PROGRAM else f"its output is above; for the service's log: inv logs {service}"
        raise OpsError(
            f"`{shlex.join(words)}` ended with {code}", where=container.name, then=then, slug="command-failed"
        )


def command(container: str, words: Sequence[str], *, terminal: bool) -> Command:
    """Make the command; standard input is passed on in any case. Pure."""
    return docker("exec", "--interactive", *(["--tty"] if terminal else []), container, *words)


def split(line: str, rest: Sequence[str]) -> list[str]:
    """Return a command's words: a line as a shell would split it, and what stands behind `--` as it is. Pure."""
    try:
        return [*shlex.split(line), *rest]
    except ValueError as error:
        what = f"the command cannot be split into words: {error}"
        then = "close the quotes, or put -- before the command: words behind it are not split"
        raise Refused(what, where="inv exec", then=then, slug="wrong-usage") from None
