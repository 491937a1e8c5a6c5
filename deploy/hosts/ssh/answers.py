"""Answers that are kept while a command only looks: of one moment, and no question crosses a slow line twice."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from typing import Any, TypeVar, cast

T = TypeVar("T")
# $1 a folder, then patterns of files and links in it: what is missing is named on stderr
FETCH = """cd -- "$1" || exit
shift; IFS=
exec tar --create --file=- -- $@
"""
MISSING = re.compile(r"(?m)^tar: (.+): Cannot stat: No such file or directory$")
SHRANK = "shrank by"  # a file, while it was read: what is missing of it is filled with zeros


class Answers:
    """What was asked, and the answer; whoever asks meanwhile waits for the one that comes."""

    def __init__(self) -> None:
        self.asking, self.kept = Lock(), dict[Hashable, Future[Any]]()

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """Return the answer to a question, or raise what it met; ask where nobody has."""
        with self.asking:
            first = question not in self.kept
            answer = self.kept.setdefault(question, Future())
        if first:
            try:
                answer.set_result(ask())
            except BaseException as error:  # noqa: BLE001  # raised below, and to whoever waits
                answer.set_exception(error)
        return cast(T, answer.result())

    def put(self, question: Hashable, answer: object) -> None:
        """Keep an answer that came with others."""
        self.get(question, lambda: answer)


def unpacked(archive: bytes, stderr: str) -> Iterator[tuple[str, str, bytes | str | None]]:
    """Yield what FETCH printed: the question, `read` or `readlink`, the name, and the answer; None where nothing is.

    Pure. What was cut short, or not read whole, is left out.
    """
    if SHRANK in stderr:
        return
    with suppress(tarfile.TarError, EOFError), tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        for member in packed:
            if member.issym():
                yield "readlink", member.name, member.linkname
            elif file := packed.extractfile(member) if member.isfile() else None:
                yield "read", member.name, file.read()
    for name in MISSING.findall(stderr):
        yield from (("read", name, None), ("readlink", name, None))
