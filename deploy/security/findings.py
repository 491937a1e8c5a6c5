"""What scanners find, and what an inspection came to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, get_args

from deploy.config.sections import Kind
from deploy.core.errors import OpsError

Severity = Literal["CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Finding:
    """One thing that a check found: what, how bad, in what, where, and what fixes it.

    `where` is an image's name or the checkout; `path` is a file in it; `subject` a package with its version, the
    commit that brought it, or the service or the block that it is about.
    """

    kind: Kind
    id: str
    severity: Severity
    where: str
    title: str
    path: str = ""
    line: int = 0
    subject: str = ""
    purl: str = ""
    fixed: str = ""
    then: str = ""
    url: str = ""

    @property
    def fingerprint(self) -> str:
        """What makes it the same finding in another scan: not its line, which moves, nor the package's version."""
        return "|".join((self.kind, self.id, self.where, self.path, self.subject.partition(" ")[0]))

    @property
    def place(self) -> str:
        """Where it is, as a person would look it up."""
        inside = f"{self.path}:{self.line}" if self.line else self.path
        return ": ".join(filter(None, (self.where if self.where != CHECKOUT else "", inside))) or self.where


CHECKOUT, DATABASE = "the checkout", "the database"  # no image can be called so: it may be `checkout`
DOCTOR = "inv doctor, which shows the scanners' versions"


@dataclass(frozen=True)
class Inspection:
    """What one check looked at and found; `unknown` says why it could not look, or not enough."""

    kind: Kind
    where: str
    scope: str = ""
    age: str = ""
    findings: tuple[Finding, ...] = ()
    unknown: str = ""
    then: str = ""

    @property
    def skippable(self) -> str:
        """What `scan.skip` calls it; the dependencies of the checkout are its locks."""
        return "locks" if (self.kind, self.where) == ("vulnerabilities", CHECKOUT) else self.kind


@dataclass(frozen=True)
class ScannedImage:
    """One image that was inspected, by what its manifest and its configuration hash to; `sbom` in CycloneDX."""

    name: str
    digest: str
    config: str
    sbom: str = field(default="", repr=False)


class Unreadable(ValueError):
    """A scanner's answer is not what this toolkit can judge."""


def severe(severity: Severity, least: Severity) -> bool:
    """Tell whether a severity is at least another; one that nobody has rated is not."""
    return severity != "UNKNOWN" and SEVERITIES.index(severity) <= SEVERITIES.index(least)


def severity_of(word: object) -> Severity:
    """Read a severity; raise Unreadable for a word that is none."""
    for severity in SEVERITIES:
        if severity == str(word).upper():
            return severity
    raise Unreadable(f"`{word}` is no severity")


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings, the worst first."""
    return sorted(findings, key=lambda one: (SEVERITIES.index(one.severity), one.kind, one.where, one.path, one.id))


def as_unknown(kind: Kind, where: str, error: OpsError | Unreadable) -> Inspection:
    """Return what a check is that could not look."""
    if isinstance(error, OpsError):
        return Inspection(kind, where, unknown=" ".join(error.what.split()), then=error.then or DOCTOR)
    return Inspection(kind, where, unknown=str(error), then=DOCTOR)
