"""Waivers: findings that somebody accepts, why, and until when; what is wrong with a waiver is a finding itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from deploy.config.loader import parse
from deploy.config.sections import Kind
from deploy.core.errors import nearest
from deploy.security.findings import KINDS, Finding, Inspection

FILE = "deploy/waivers.toml"
TEXTS = ("id", "statement", "owner")
LISTS = ("paths", "purls", "commits")
KEYS = (*TEXTS, "expired_at", *LISTS)


@dataclass(frozen=True)
class Waiver:
    """One accepted finding; the names are those of Trivy's ignore file, and who answers for it.

    https://trivy.dev/docs/latest/configuration/filtering/#trivyignoreyaml
    """

    kind: Kind
    id: str
    statement: str
    owner: str
    expired_at: date
    paths: tuple[str, ...] = ()
    purls: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()

    def accepts(self, finding: Finding) -> bool:
        """Tell whether it is about a finding: its id, and the place, the package or the commit, where these are named.

        A leak of the history is accepted in its commit alone: tomorrow's in the same file is another.
        """
        if (self.kind, self.id) != (finding.kind, finding.id):
            return False
        places = {finding.where, finding.path, finding.place}
        there = not self.paths or any(fnmatch(place, path) for path in self.paths for place in places if place)
        brought = not self.commits or finding.subject.partition(" ")[0] in {commit[:12] for commit in self.commits}
        return there and brought and (not self.purls or any(names(purl, finding.purl) for purl in self.purls))


@dataclass(frozen=True)
class Mistake:
    """What is wrong with one waiver, by its kind and id, in one word as `vulnerabilities/CVE-1`."""

    waiver: str
    words: str


@dataclass(frozen=True)
class Waivers:
    """The waivers of a checkout, and what is wrong with the file."""

    valid: tuple[Waiver, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


def names(purl: str, of: str) -> bool:
    """Tell whether a package URL names a package: without a version every version of it. Pure."""
    bare = of.partition("?")[0]
    return purl in (of, bare) or ("@" not in purl and purl == bare.rpartition("@")[0])


def read(root: Path, today: date) -> Waivers:
    """Read the waivers of a checkout, none where there is no file; raise Refused where it is not TOML."""
    path = root / FILE
    if not path.exists():
        return Waivers()
    document, valid, mistakes = parse(path, root), list[Waiver](), list[Mistake]()
    for kind, entries in document.items():
        if kind not in KINDS:
            mistakes.append(Mistake(kind, f"[[{kind}]] is no kind of finding{nearest(kind, KINDS)}"))
            continue
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            words = f"{kind} must be tables, each under a line [[{kind}]] with double brackets"
            mistakes.append(Mistake(kind, words))
            continue
        for number, entry in enumerate(entries, 1):
            wrong = problems(kind, entry, today)
            mistakes += [Mistake(f"{kind}/{entry.get('id', number)}", words) for words in wrong]
            valid += [] if wrong else [made(next(one for one in KINDS if one == kind), entry)]
    return Waivers(tuple(valid), tuple(mistakes))


def problems(kind: str, entry: dict[str, Any], today: date) -> list[str]:
    """Return what is wrong with one entry: keys that are unknown or missing, a date that is over. Pure."""
    wrong = [f"unknown key {key}{nearest(key, KEYS)}" for key in entry if key not in KEYS]
    wrong += [f"{key} is missing" for key in TEXTS if not str(entry.get(key, "")).strip()]
    wrong += [f"{key} must be a list of texts" for key in LISTS if not is_texts(entry.get(key, []))]
    wrong += [f"{key} names nothing; without it everything is accepted" for key in LISTS if entry.get(key) == []]
    if (kind == "history") is not bool(entry.get("commits")):
        wrong.append("commits is missing" if kind == "history" else "commits is for [[history]] alone")
    ends = entry.get("expired_at")
    if not isinstance(ends, date):
        wrong.append("expired_at must be a date, as in 2027-03-01")
    elif plain_date(ends) <= today:
        wrong.append(f"it expired on {plain_date(ends)}; fix the finding, or accept it anew")
    return wrong


def is_texts(value: object) -> bool:
    """Tell whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def plain_date(value: date) -> date:
    """Return the day of a date, or in UTC that of a date with a time."""
    zoned = isinstance(value, datetime) and value.tzinfo
    day = value.astimezone(UTC) if isinstance(value, datetime) and zoned else value
    return date(day.year, day.month, day.day)


def made(kind: Kind, entry: dict[str, Any]) -> Waiver:
    """Make a waiver of an entry that has no mistake."""
    paths, purls, commits = (tuple(entry.get(key, ())) for key in LISTS)
    named, statement, owner = (str(entry[key]) for key in TEXTS)
    return Waiver(kind, named, statement, owner, plain_date(entry["expired_at"]), paths, purls, commits)


def accepting(finding: Finding, waivers: Iterable[Waiver]) -> Waiver | None:
    """Return the waiver that accepts a finding. Pure."""
    return next((waiver for waiver in waivers if waiver.accepts(finding)), None)


def unused(waivers: Iterable[Waiver], inspections: Sequence[Inspection]) -> list[Mistake]:
    """Name the waivers that accept nothing, where every check of their kind could look. Pure."""
    blind = {inspection.kind for inspection in inspections if inspection.unknown}
    findings = [finding for inspection in inspections for finding in inspection.findings]
    kinds = {inspection.kind for inspection in inspections} - blind
    return [
        Mistake(f"{one.kind}/{one.id}", "it accepts nothing; remove it")
        for one in waivers if one.kind in kinds and not any(one.accepts(finding) for finding in findings)
    ]  # fmt: skip
