"""Failures by cause. Each says what failed, where, what still serves, and the next command."""

from __future__ import annotations


class OpsError(Exception):
    """Something was tried and failed; what served before still serves."""

    code = 1

    def __init__(self, what: str, *, where: str = "", serves: str = "", then: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.serves, self.then = what, where, serves, then

    def __str__(self) -> str:
        lines = [self.what]
        lines += [f"  where:  {self.where}"] if self.where else []
        lines += [f"  serves: {self.serves}"] if self.serves else []
        lines += [f"  next:   {self.then}"] if self.then else []
        return "\n".join(lines)


class Refused(OpsError):
    """Wrong usage, settings, or a machine that is not ready; nothing was changed."""

    code = 2


class GateClosed(OpsError):
    """A gate said FAIL, or UNKNOWN because it could not look."""

    code = 3


class Locked(OpsError):
    """Another operator holds the lock."""

    code = 4


class Interrupted(OpsError):
    """The run was cut off between two steps."""

    code = 5


class CommandFailed(OpsError):
    """A command ended with a code other than 0."""

    def __init__(self, command: str, returncode: int, output: str, where: str) -> None:
        super().__init__(f"`{command}` ended with {returncode}" + (f":\n{output}" if output else ""), where=where)
        self.returncode, self.output = returncode, output
