"""Slugs, by which programs tell errors apart: kebab-case, and each in docs/reference/errors.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.config.settings import ROOT
from deploy.core import errors
from tests.unit.test_docs import reference

SOURCES = sorted((ROOT / "deploy").rglob("*.py"))
KEBAB = re.compile(r"[a-z]+(-[a-z]+)*")
TABLE = reference("errors.md", "slug")


def literals(value: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may be."""
    if isinstance(value, ast.IfExp):
        yield from literals(value.body)
        yield from literals(value.orelse)
    if isinstance(value, ast.BoolOp):
        for part in value.values:
            yield from literals(part)
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value


def assigned(target: ast.expr, value: ast.expr) -> Iterator[str]:
    """Yield the texts that an assignment gives to the name `slug`."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=True):
            yield from assigned(one, its)
    if getattr(target, "id", getattr(target, "attr", "")) == "slug":
        yield from literals(value)


def slugs(source: str) -> Iterator[tuple[str, str]]:
    """Yield every slug of a module, with the name of what is called with it; empty where it is assigned."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = node.func.id if isinstance(node.func, ast.Name) else ""
            yield from ((slug, called) for word in node.keywords if word.arg == "slug" for slug in literals(word.value))
        if isinstance(node, ast.AnnAssign) and node.value:
            yield from ((slug, "") for slug in assigned(node.target, node.value))
        if isinstance(node, ast.Assign):
            yield from ((slug, "") for target in node.targets for slug in assigned(target, node.value))


def code(called: str) -> str:
    """Return the exit code of the error that is made; empty where its name does not say."""
    kind = errors.Refused if called == "refuse" else getattr(errors, called, None) if called else None
    return str(kind.code) if isinstance(kind, type) and issubclass(kind, errors.OpsError) else ""


FOUND = {(slug, called, path) for path in SOURCES for slug, called in slugs(path.read_text())}


def test_every_slug_is_in_the_reference_and_no_other() -> None:
    assert set(TABLE) == {slug for slug, _, _ in FOUND}
    assert list(TABLE) == sorted(TABLE)


def test_every_error_is_raised_with_its_slug() -> None:
    default = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("OpsError", "Refused", "refuse")
        if "slug" not in {word.arg for word in node.keywords}
    ]
    assert default == []


def test_every_slug_is_kebab_case() -> None:
    assert [slug for slug in TABLE if not KEBAB.fullmatch(slug)] == []


@pytest.mark.parametrize(("slug", "called", "path"), sorted((s, c, p) for s, c, p in FOUND if code(c)))
def test_the_reference_has_its_exit_code(slug: str, called: str, path: Path) -> None:
    assert code(called) in TABLE[slug][0].split(", "), path.relative_to(ROOT)


def test_all_ways_to_write_a_slug_are_read() -> None:
    lines = [
        'Refused("x", slug="a-b" if x else "c")',
        'what, slug = "no", "d" or "e"',
        'slug = ""',
        "f(slug=x)",
        'error.slug = "f"',
        'slug: str = "g"',
    ]
    assert {slug for slug, _ in slugs("\n".join(lines))} == {"a-b", "c", "d", "e", "f", "g"}
