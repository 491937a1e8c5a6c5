"""Failures by cause. Each says what failed, where, what still serves, and the next command."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb
from types import TracebackType

COMMAND = re.compile(r"\binv (?!dev\b)(?:[a-z]+\.)?[a-z]+\b(?!\.[a-z]|(?: --[\w=.,-]+)* --env)")

FULL = ("no space left on device", "disk quota exceeded")
PACKAGE = Path(__file__).resolve().parents[1]


def acting(text: str, env: str) -> str:
    """Make the commands that a text names act on the environment that it speaks of."""
    return text if env == "local" else COMMAND.sub(rf"\g<0> --env={env}", text)


def nearest(key: str, keys: Iterable[str]) -> str:
    """Return the hint at the nearest right key; empty when none is near."""
    near = get_close_matches(key, list(keys), 1)
    return f"; did you mean {near[0]}?" if near else ""


class OpsError(Exception):
    """Something was tried and failed; what served before still serves."""

    code = 1
    slug = "failed"  # the cause, for programs and tests: wording may change, this does not
    still = "what served before; inv status shows it"
    env = "local"
    hosts: tuple[str, ...] = ()  # of several, those that failed

    def __init__(
        self, what: str, *, where: str = "", serves: str = "", then: str = "", slug: str = "", documented: bool = False
    ) -> None:  # fmt: skip
        super().__init__(what)
        self.what, self.where, self.serves, self.then = what, where, serves, then
        self.slug = slug or self.slug
        self.documented = documented  # the command that failed has printed its document

    def __str__(self) -> str:
        return "{error}\n  where:  {where}\n  serves: {serves}\n  next:   {next}".format(**self.document)

    @property
    def document(self) -> dict[str, object]:
        """The error for programs: text, slug of its cause, exit code, place, what serves, next command."""
        place, serves, then = self.where or "this machine", self.serves or self.still, self.then or "inv doctor"
        what, serves, then = (acting(text, self.env) for text in (self.what, serves, then))
        return {"error": what, "slug": self.slug, "code": self.code, "where": place, "serves": serves, "next": then}


class Refused(OpsError):
    """Wrong usage, settings, or a machine that is not ready; nothing was changed."""

    code = 2
    slug = "refused"
    still = "what served before; nothing was changed"


def refuse(title: str, mistakes: Sequence[str], *, where: str, then: str, slug: str = "") -> None:
    """Raise one Refused that lists all mistakes; do nothing when there are none."""
    if mistakes:
        raise Refused("\n    ".join([title, *mistakes]), where=where, then=then, slug=slug)


class GateClosed(OpsError):
    """A gate said FAIL, or UNKNOWN because it could not look."""

    code = 3
    slug = "gate-closed"
    still = Refused.still


class Locked(OpsError):
    """Another operator holds the lock."""

    code = 4
    slug = "lock-held"


class Interrupted(OpsError):
    """The run was cut off between two steps."""

    code = 5
    slug = "interrupted"


class Unreachable(OpsError):
    """The connection to a host broke; what was begun there goes on."""

    slug = "host-unreachable"


class MachineFailed(OpsError):
    """The machine itself said no: a full disk, a folder of another account."""

    def __init__(self, error: OSError, where: str = "") -> None:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        then = "inv disk says where the space went" if full else "inv doctor looks at this machine"
        place, slug = str(error.filename or where), "disk-full" if full else "machine-failed"
        super().__init__(error.strerror or str(error), where=place, then=f"fix that; {then}", slug=slug)


def to_ops_error(error: Exception, where: str = "") -> OpsError:
    """Return an error as one of ours; what nobody foresaw says where in the toolkit it was."""
    if isinstance(error, OpsError):
        return error
    if isinstance(error, OSError):
        return MachineFailed(error, where)
    own = [
        f"{frame.filename}:{frame.lineno}"
        for frame in extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(PACKAGE)
    ]
    what = ", at ".join([f"{type(error).__name__}: {error}", *own[-1:]])
    then = (
        "report this with everything that is printed here: it is a fault of the toolkit; inv status shows what serves"
    )
    return OpsError(what, where=where, then=then, slug="toolkit-fault")


@contextmanager
def as_failure(then: str) -> Iterator[None]:
    """Turn a refusal in here into a failure, since something was changed already; `then` is the next command.

    An interruption stays one.
    """
    try:
        yield
    except Interrupted:
        raise
    except OpsError as error:
        error.code, error.then = OpsError.code, then
        raise


@contextmanager
def as_interrupted(then: str) -> Iterator[None]:
    """Turn whatever fails in here into an interruption: hosts may be apart, and `then` goes on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("interrupted half way", then=then) from None
    except Exception as error:
        failure = to_ops_error(error)
        raise Interrupted(failure.what, where=failure.where, then=then, slug=failure.slug) from error


class CommandFailed(OpsError):
    """A command ended with a code other than 0."""

    def __init__(self, command: str, returncode: int, output: str, where: str, *, whole: str = "") -> None:
        full = any(words in output.lower() for words in FULL)
        super().__init__(
            f"`{command}` ended with {returncode}" + (f":\n{output}" if output else ""),
            where=where,
            slug="disk-full" if full else "command-failed",
            then="inv disk says where the space went, inv prune makes room; then the same again" if full else "",
        )
        self.returncode, self.output = returncode, output
        self.whole = whole or output  # all that it printed, to search in; `output` is its end, to show


class Reasons:
    """Collect refusals, to report all of them at once: `with reasons:` around each check, then `refuse()`."""

    def __init__(self) -> None:
        self.refusals: list[Refused] = []

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Refused):
            self.refusals.append(error)
        return isinstance(error, Refused)

    def refuse(self) -> None:
        """Raise what was collected as one Refused; do nothing when there was nothing."""
        if self.refusals:
            wheres = ", ".join(dict.fromkeys(error.where for error in self.refusals if error.where))
            thens = "; ".join(dict.fromkeys(error.then for error in self.refusals if error.then))
            slugs = {error.slug for error in self.refusals}
            slug = slugs.pop() if len(slugs) == 1 else "several-causes"
            raise Refused("\n".join(error.what for error in self.refusals), where=wheres, then=thens, slug=slug)
