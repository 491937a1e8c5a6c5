"""The format of kept documents: keys of a newer toolkit stay; what only that can understand is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import from_json

from deploy.core.errors import Refused
from deploy.core.model import VERSION, Kept

B = TypeVar("B", bound=BaseModel)
K = TypeVar("K", bound=Kept)
NEWER = "use a newer checkout of the toolkit: git pull in it, then the same again"
TOO_NEW = "toolkit-too-old"  # the slug of a Refused for what needs a newer toolkit to be read


def read(text: str) -> dict[str, Any]:
    """Read a JSON document that is an object; raise ValueError for any other."""
    document = from_json(text)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # callers tell damaged documents by ValueError
    return document


def is_too_new(document: Mapping[str, Any]) -> bool:
    """Tell whether a reader must know a later format than ours. Pure."""
    needs = document.get("needs")
    return isinstance(needs, int) and needs > VERSION


def too_new(path: Path) -> Refused:
    """Make the error that names a file which needs a newer toolkit to be read."""
    message = f"{path.name} was written by a newer toolkit, and this one cannot read it"
    return Refused(message, where=str(path), then=NEWER, slug="toolkit-too-old")


def parse(kind: type[K], text: str, path: Path, then: str = "restore that file") -> K:
    """Read one kept value; raise Refused, which names the file: TOO_NEW where a newer toolkit can read it."""
    try:
        return load(kind, text)
    except NewerFormat:
        raise too_new(path) from None
    except ValueError:
        raise Refused(f"{path.name} cannot be read", where=str(path), then=then, slug="record-unreadable") from None


class NewerFormat(ValueError):
    """A document of a later format that we cannot understand."""


def value(kind: type[K], document: Mapping[str, Any]) -> K:
    """Make a value of a document; raise NewerFormat when it is too new, ValueError when it is damaged. Pure."""
    if is_too_new(document):
        raise NewerFormat
    try:
        return kind.model_validate({"version": 0, **document})
    except ValueError:
        version = document.get("version")
        if isinstance(version, int) and version > VERSION:
            raise NewerFormat from None
        raise


def load(kind: type[K], text: str) -> K:
    """Read one kept value; raise NewerFormat when it is too new, ValueError when it is damaged. Pure."""
    return value(kind, read(text))


def dump(value: Kept, indent: int | None = None) -> str:
    """Write a value in our format; one that has keys of a later format stays of that."""
    ours = value.model_copy(update={"version": max(value.version, VERSION)})
    return ours.model_dump_json(indent=indent, exclude=None if ours.needs else {"needs"})


def carry(new: B, old: B | None) -> B:
    """Return a value with the keys that a newer toolkit had added to the one that it replaces. Pure."""
    if old is None:
        return new
    parts = {name: carried(getattr(new, name), getattr(old, name)) for name in type(new).model_fields}
    update = {**(old.model_extra or {}), **parts}
    if isinstance(new, Kept) and isinstance(old, Kept):
        update |= {"version": max(new.version, old.version), "needs": max(new.needs, old.needs)}
    return new.model_copy(update=update)


def carried(new: Any, old: Any) -> Any:
    """Carry keys between parts: a model, or models by their names."""
    if isinstance(new, BaseModel) and isinstance(old, type(new)):
        return carry(new, old)
    if isinstance(new, tuple) and new and isinstance(new[0], BaseModel):
        before = {one.name: one for one in old}
        return tuple(carry(one, before.get(one.name)) for one in new)
    return new
