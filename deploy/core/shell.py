"""Commands as values: built here and there, run by a host."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

LONG = 4 * 3600  # seconds that an image may take over a slow line; Docker itself ends a connection that is dead


class Secret(str):
    """A value that never shows in logs, errors or reprs; joining, encoding and replacing give it in clear."""

    def __repr__(self) -> str:
        return "'***'"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"


@dataclass(frozen=True)
class Command:
    """One program with its arguments, and what it adds to the environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Render as a person could type it, secrets masked."""
        return " ".join("***" if isinstance(word, Secret) else shlex.quote(word) for word in self.argv)


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """The last lines of whichever stream said something."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-15:])


def command(*argv: str | int, **environment: str) -> Command:
    """Make a command of words; keywords become environment variables."""
    return Command(tuple(word if isinstance(word, str) else str(word) for word in argv), environment)


def docker(*argv: str | int) -> Command:
    """Make a command of the Docker client."""
    return command("docker", *argv)


def compose(project: str, file: str, *argv: str | int) -> Command:
    """Make a command of Docker Compose on one rendered file, deaf to any .env file nearby."""
    return docker("compose", "--project-name", project, "--file", file, "--env-file", "/dev/null", *argv)
