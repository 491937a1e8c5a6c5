"""Commands as values: built here and there, run by a host."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

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
    """One program with its arguments, and what it adds to the environment.

    One that `changes` nothing is a query: no lock guards it.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    changes: bool = True

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that it starts."""
        return self.argv[:1]

    def as_query(self) -> Self:
        """Return the same command as one that changes nothing."""
        return replace(self, changes=False)

    def __str__(self) -> str:
        """Render as a person could type it, secrets masked."""
        return " ".join("***" if isinstance(word, Secret) else shlex.quote(word) for word in self.argv)


@dataclass(frozen=True)
class Script(Command):
    """A shell script around other commands, by which it is shown."""

    stages: tuple[Command, ...] = ()

    @property
    def programs(self) -> tuple[str, ...]:
        """The programs that it starts."""
        return tuple(program for stage in self.stages for program in stage.programs)

    def __str__(self) -> str:
        """Render as a person could type it, secrets masked."""
        return " | ".join(map(str, self.stages))


@dataclass(frozen=True)
class Result:
    """What a command left: its exit code and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def whole(self) -> str:
        """All that it printed, to search in."""
        return f"{self.stdout}\n{self.stderr}"

    @property
    def output(self) -> str:
        """The last lines of stderr, or of stdout where that is empty: to show why a command failed."""
        return "\n".join((self.stderr.strip() or self.stdout.strip()).splitlines()[-15:])


def command(*argv: str | int, **environment: str) -> Command:
    """Make a command of words; keywords become environment variables."""
    return Command(tuple(word if isinstance(word, str) else str(word) for word in argv), environment)


def query(*argv: str | int, **environment: str) -> Command:
    """Make a command that changes nothing."""
    return command(*argv, **environment).as_query()


# Debian's sh has no pipefail, and bash's names the last failure. Each stage writes its code to 3; 4 is our own stdout.
# A broken pipe (141) follows from a later stage's end: it counts where none failed by itself. One without a code was
# killed.
PIPE = """exec 4>&1
codes=$({{ {stages} >&4; }} 3>&1)
result=0
for stage in {numbers}; do
    code=143
    for said in $codes; do case $said in "$stage:"*) code=${{said#*:}} ;; esac; done
    case $code in 0) ;; 141) result=141 ;; *) exit "$code" ;; esac
done
exit "$result"
"""


def pipe(*stages: Command) -> Script:
    """Join commands, each reading what the one before prints; the exit code is that of the first that failed.

    What they add to the environment is added to that of all; raises ValueError where they disagree.
    """
    environment: dict[str, str] = {}
    for name, value in (item for stage in stages for item in stage.environment.items()):
        if environment.setdefault(name, value) != value:
            raise ValueError(f"the commands of a pipe disagree about {name}")
    parts = (
        f'{{ {shlex.join(stage.argv)} 3>&- 4>&-; echo "{number}:$?" >&3; }}' for number, stage in enumerate(stages)
    )
    script = PIPE.format(stages=" | ".join(parts), numbers=" ".join(map(str, range(len(stages)))))
    return Script(("sh", "-c", Secret(script)), environment, any(stage.changes for stage in stages), stages)


def docker(*argv: str | int) -> Command:
    """Make a command of the Docker client."""
    return command("docker", *argv)


def compose(project: str, file: str, *argv: str | int) -> Command:
    """Make a command of Docker Compose on one rendered file, deaf to any .env file nearby."""
    return docker("compose", "--project-name", project, "--file", file, "--env-file", "/dev/null", *argv)


def plain(printed: bytes) -> str:
    """Read what a program printed as subprocess does, whatever it holds."""
    return printed.decode(errors="backslashreplace").replace("\r\n", "\n").replace("\r", "\n")
