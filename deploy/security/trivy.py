"""Trivy's command lines, and what its JSON means: packages by ecosystem, findings, the age of its data. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_core import from_json

from deploy.security.findings import CHECKOUT, Finding, Inspection, Unreadable, severity_of
from deploy.security.trivy_report import Part, Report, Result, System, Vulnerability

QUIET = ("--skip-version-check", "--skip-check-update", "--disable-telemetry", "--quiet")
# files that Trivy takes from the folder it runs in: what one of them lets through has no owner and no end
UNCONFIGURED = ("--ignorefile=", "--config=/dev/null")
# in a checkout Trivy passes over tests, examples and *.md unless its configuration says otherwise; in images they are
# others' files
EVERY_FILE = Path(__file__).with_name("trivy-secret.yaml")
OF_IMAGES = ("--secret-config=",)
OF_A_CHECKOUT = (f"--secret-config={EVERY_FILE}", "--include-dev-deps")
OFFLINE = ("--offline-scan", "--skip-db-update", "--skip-java-db-update", "--skip-vex-repo-update")
CONFIGURATION = "the image's configuration"  # ENV, labels, the lines it was built by: in place of a folder of ours
NAMES = {"pip": "pip", "npm": "npm", "gobinary": "Go", "python-pkg": "pip", "node-pkg": "npm"}
NUMBERS = {"alpine": 2, "debian": 1, "ubuntu": 2}  # distribution -> numbers by which the database names a release
SCHEMA = 2
IGNORED = r"trivy:ignore:|tfsec:ignore:"  # in a comment of a file, which no option refuses


class Database(Part):
    """What the vulnerability database says of itself; its times are UTC."""

    schema_version: int = Field(alias="Version")
    updated: datetime = Field(alias="UpdatedAt")


@dataclass(frozen=True)
class Data:
    """The vulnerability database that can be judged by: its age in hours, what it is about; or why there is none.

    `releases` is None where that was not read.
    """

    hours: float = 0
    updated: str = ""
    unknown: str = ""
    then: str = ""
    releases: frozenset[str] | None = None

    @property
    def age(self) -> str:
        """Write the age for people."""
        return (
            "" if self.unknown else f"{self.hours:.0f} h old" if self.hours < 48 else f"{self.hours / 24:.0f} days old"
        )


def scan(program: str, what: Iterable[str], cache: str, scanners: Iterable[str], *, within: float) -> tuple[str, ...]:
    """Return the words of one run: `what` is `image --input FOLDER` or `fs FOLDER`, the rest is how."""
    kind, *target = what
    return (
        program, kind, "--format=json", "--list-all-pkgs", f"--scanners={','.join(scanners)}", f"--cache-dir={cache}",
        f"--timeout={within:.0f}s", *QUIET, *OFFLINE, *UNCONFIGURED, *(OF_A_CHECKOUT if kind == "fs" else OF_IMAGES),
        *target,
    )  # fmt: skip


def download(program: str, cache: str, repositories: Iterable[str], *, within: float) -> tuple[str, ...]:
    """Return the words that fetch the vulnerability database, from the first repository that gives it."""
    chosen = [f"--db-repository={one}" for one in repositories]
    return (program, "image", "--download-db-only", f"--cache-dir={cache}", f"--timeout={within:.0f}s", *QUIET, *chosen)


def read(answer: str) -> Report:
    """Read a report; raise Unreadable for any other text, and for a shape that was not there when this was written."""
    try:
        report = Report.model_validate(from_json(answer))
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise Unreadable(f"Trivy answered in a shape that this toolkit does not read: {key}") from None
    except ValueError:
        raise Unreadable("Trivy did not answer in JSON") from None
    if report.schema_version != SCHEMA:
        raise Unreadable(f"Trivy answered in schema {report.schema_version}; this toolkit reads {SCHEMA}")
    return report


def database(text: str | None, now: datetime, most_hours: float, damage: str = "") -> Data:
    """Judge the database by its metadata and `damage`: none, or one older than it may be, lets nothing pass."""
    then = "set scan.databases to a mirror, or to a folder that has db/trivy.db and db/metadata.json"
    if text is None:
        return Data(unknown="no vulnerability database", then=then)
    try:
        described = Database.model_validate_json(text)
        updated = described.updated.astimezone(UTC)
    except ValueError:
        return Data(unknown="the vulnerability database is damaged: metadata.json cannot be read", then=then)
    if damage:
        return Data(unknown=f"the vulnerability database is not whole: {damage}", then=then)
    hours = (now - updated).total_seconds() / 3600
    data = Data(hours, updated.strftime("%Y-%m-%dT%H:%M:%SZ"))
    if hours < 0:
        what = f"the vulnerability database is of {data.updated}, which is yet to come by the clock of this machine"
        return Data(hours, data.updated, what, "set the clock; or another database: scan.databases")
    if hours > most_hours:
        limit = f"scan.database_hours allows {most_hours:.0f} h"
        return Data(hours, data.updated, f"the vulnerability database is {data.age}; {limit}", then)
    return data


def require_image(report: Report, config: str) -> None:
    """Raise Unreadable where a report is of another image than the one with this configuration.

    Of an index Trivy reads the first image, for whichever platform; and a build may take a name while it is read.
    """
    if report.metadata.image != config:
        raise Unreadable(
            f"Trivy looked at {report.metadata.image[:19] or 'no image'}, and what runs is {config[:19]}: "
            "an image for several platforms, or one that another build replaced meanwhile"
        )


def packages(report: Report) -> dict[str, int]:
    """Count what was looked at, by ecosystem: the distribution's own first."""
    counts = Counter[str]()
    for result in report.results:
        if result.kind == "os-pkgs":
            counts[result.type.capitalize()] += len(result.packages)
    for result in report.results:
        if result.kind == "lang-pkgs":
            counts[NAMES.get(result.type, result.type)] += len(result.packages)
    return {name: count for name, count in counts.items() if count}


def listed(counts: Mapping[str, int]) -> str:
    """Write counts for people."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) + " packages" if counts else "no package"


def image_inspections(
    report: Report, name: str, data: Data, *, least: int, packageless: bool = False
) -> list[Inspection]:
    """Say what an image's report came to: vulnerabilities, end of life, secrets.

    `least` is the number of the distribution's packages below which it was not looked at; `packageless` has none.
    """
    counts, system, layers = packages(report), report.metadata.system, report.metadata.layers
    count = sum(len(result.packages) for result in report.results if result.kind == "os-pkgs")
    blind = "" if packageless else few(count, system, least)
    other = "" if packageless else blind or undated(system)
    advice = "a base that is a release, with package records: docs/how-to/scanning.md"
    why = data.unknown or other or ("" if packageless else unlisted(system, data.releases))
    then = "" if data.unknown else advice
    of = f"{system.family} {system.name}" if system else ""
    content = f"{report.metadata.size / 1_000_000:.0f} MB in {len(layers)} layer{'s' if len(layers) != 1 else ''}"
    return [
        Inspection(
            "vulnerabilities", name, listed(counts), data.age, vulnerabilities(report, name), why, then if why else ""
        ),
        Inspection(
            "end-of-life", name, of or "no distribution", "", end_of_life(system, name), other, advice if other else ""
        ),
        Inspection("secrets", name, content, "", secrets(report, name), "" if layers else "no layer was looked at"),
    ]


def few(count: int, system: System | None, least: int) -> str:
    """Say why an image counts as not looked at; empty where it was."""
    if system is None:
        return "the image does not say of which distribution it is, so that none of its packages was looked at"
    return "" if count >= least else f"{count} system packages were looked at; scan.system_packages wants {least}"


def undated(system: System | None) -> str:
    """Say why nobody publishes advisories for a distribution; empty for a release that has a number."""
    numbered = system is None or system.family != "debian" or system.name[:1].isdigit()
    return (
        "" if numbered or not system else f"nobody publishes advisories for Debian {system.name}, which is no release"
    )


def vulnerabilities(report: Report, where: str) -> tuple[Finding, ...]:
    """Return the vulnerable packages of a report, each with the command that updates it."""
    return tuple(
        Finding("vulnerabilities", one.id, severity_of(one.severity), where, one.title or one.id,
                path=one.path or ("" if result.kind == "os-pkgs" else result.target if where == CHECKOUT else ""),
                subject=f"{one.package} {one.installed}", purl=one.identifier.purl, fixed=one.fixed, url=one.url,
                then=update(result, one))
        for result in report.results for one in result.vulnerabilities
    )  # fmt: skip


def update(result: Result, one: Vulnerability) -> str:
    """Return the command that updates a package."""
    if not one.fixed:
        return "no fix yet; a waiver until there is one"
    if result.kind == "os-pkgs":
        return "a newer base: inv images.pin, or docker image rm of one that was built here; then inv build"
    fixed = one.fixed.split(",")[0].strip()
    if result.type in ("npm", "node-pkg"):
        return f"npm install {one.package}@{fixed}"
    return f"{one.package}>={fixed} in requirements.in, then lock again" if NAMES.get(result.type) == "pip" else ""


def unlisted(system: System | None, releases: Collection[str] | None) -> str:
    """Say that the database has no advisories for a distribution's release, of which Trivy finds nothing then.

    Only where it is called as its release is: https://github.com/aquasecurity/trivy-db/tree/main/pkg/vulnsrc
    """
    if system is None or releases is None or system.family not in NUMBERS:
        return ""
    name = f"{system.family} {'.'.join(system.name.partition('-')[0].split('.')[: NUMBERS[system.family]])}"
    return "" if name in releases else f"the vulnerability database has no advisories for {name}"


def end_of_life(system: System | None, where: str) -> tuple[Finding, ...]:
    """Return the distribution that gets no fixes any more."""
    if not (system and system.ended):
        return ()
    title = f"{system.family} {system.name} gets no security fixes any more"
    name = f"{system.family}-{system.name.partition('.')[0]}"
    return (Finding("end-of-life", name, "HIGH", where, title, then="a newer base in docker/bases.toml"),)


def secrets(report: Report, where: str) -> tuple[Finding, ...]:
    """Return the secrets in files, without their values."""
    then = "take it out, and make it invalid where it is used: others may have it"
    return tuple(
        Finding("secrets", one.id, severity_of(one.severity), where, one.title,
                CONFIGURATION if where != CHECKOUT and result.target == report.artifact else result.target, one.line,
                then=then)
        for result in report.results for one in result.secrets
    )  # fmt: skip
