"""What Trivy's report of a checkout means, and what of the checkout Trivy does not look at by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, takewhile
from pathlib import PurePosixPath

from deploy.config.sections import Kind
from deploy.security.findings import CHECKOUT, Finding, Inspection, severity_of
from deploy.security.trivy import Data, listed, packages, secrets, vulnerabilities
from deploy.security.trivy_report import Report, Result
from deploy.security.utf16 import PLACE

# at the top of what it looks at, a checkout too:
# https://github.com/aquasecurity/trivy/blob/main/pkg/fanal/walker/walk.go
PASSED_OVER = ("dev", "proc", "sys")
LOCKS = {
    "Cargo.lock", "Gemfile.lock", "Pipfile.lock", "bun.lock", "composer.lock", "go.mod", "package-lock.json",
    "packages.lock.json", "pnpm-lock.yaml", "poetry.lock", "pylock.toml", "requirements.txt", "uv.lock", "yarn.lock",
}  # fmt: skip


def plain(path: str) -> str:
    r"""Write a path as one word of Trivy's lists, whose words are patterns: `a,b` would name two. Pure."""
    escaped = re.sub(r"([\\*?\[\]{}])", r"\\\1", path)
    return '"' + escaped.replace('"', '""') + '"'


def as_dockerfile(path: str) -> str:
    """Return the option by which Trivy reads a file as a Dockerfile, whatever it is called. Pure."""
    pattern = re.escape(path).replace('"', '""')
    return f'--file-patterns="dockerfile:^{pattern}$"'


def passed_over(files: Iterable[str]) -> list[str]:
    """List the folders that Trivy looks into only where it begins there, since it takes them for a system's. Pure."""
    folders = set[str]()
    for path in files:
        names = takewhile(PASSED_OVER.__contains__, PurePosixPath(path).parts[:-1])
        folders |= {*accumulate(names, "{}/{}".format)}
    return sorted(folders)


def under(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """Return what each path in a folder is called there; `.` is the checkout itself. Pure."""
    above = "" if folder == "." else f"{folder}/"
    return {path: path.removeprefix(above) for path in paths if path.startswith(above)}


def joined(reports: Mapping[str, Report], encoded: Report | None = None) -> Report:
    """Put the reports of folders into that of the checkout, which is `.`, and the secrets in files of UTF-16. Pure."""
    results = [
        one.model_copy(update={"target": one.target.removeprefix(f"{PLACE}/")})
        for one in (encoded.results if encoded else ()) if one.secrets
    ]  # fmt: skip
    results += [
        one if folder == "." else one.model_copy(update={"target": f"{folder}/{one.target}"})
        for folder, report in reports.items() for one in report.results
    ]  # fmt: skip
    return reports["."].model_copy(update={"results": results})


def unread(report: Report, files: Iterable[str]) -> list[str]:
    """List the locks of which no package was read.

    Trivy passes over one that it cannot read without a word, as one with the marks of a merge conflict. Pure.
    """
    seen = {result.target for result in report.results if result.packages}
    locks = [PurePosixPath(path) for path in files]
    own = {str(one) for one in locks if one.name in LOCKS and "node_modules" not in one.parts}
    return sorted(own - seen)


def without_development(report: Report) -> Report:
    """Leave out what development alone needs: Trivy does so itself, and then does not say what it read. Pure."""
    results = list[Result]()
    for one in report.results:
        needed = [package for package in one.packages if not package.development]
        left_out = {package.id for package in one.packages} - {package.id for package in needed}
        update = {
            "packages": needed,
            "vulnerabilities": [found for found in one.vulnerabilities if found.package_id not in left_out],
        }
        results.append(one.model_copy(update=update))
    return report.model_copy(update={"results": results})


def inspections(
    whole: Report, data: Data, files: Collection[str], comments: Iterable[Finding] = (), unreadable: Sequence[str] = ()
) -> list[Inspection]:  # fmt: skip
    """Say what the checkout's report came to: vulnerabilities in locks, secrets, misconfigurations.

    `comments` are those that let misconfigurations through; what is `unreadable` Trivy passes over without a word.
    """
    report, locked = without_development(whole), packages(whole)
    configurations = [result for result in report.results if result.summary]
    walked = locked or configurations
    why, then = data.unknown, ""
    if not data.unknown and not locked:
        why, then = "no lock of dependencies was looked at", 'where there are none on purpose: scan.skip = ["locks"]'
    elif not data.unknown and (paths := unread(whole, files)):
        why, then = f"Trivy read no package of {', '.join(paths)}", "make it whole, or remove it where it locks nothing"
    nothing = "" if configurations else "no Dockerfile or other configuration was looked at"
    blind = "" if walked and files else "Trivy looked at no file"
    closed, readable = f"{', '.join(unreadable)} cannot be read", "chmod, chown or rename it, then inv scan"
    if unreadable:
        (why, then), nothing, blind = (why or closed, then or readable), nothing or closed, closed
    checks = sum(r.summary.successes + r.summary.failures for r in configurations if r.summary)
    return [
        Inspection("vulnerabilities", CHECKOUT, listed(packages(report)), data.age,
             vulnerabilities(report, CHECKOUT), why, then),
        Inspection("secrets", CHECKOUT, f"{len(files)} files", "", secrets(report, CHECKOUT), blind,
             readable if unreadable else ""),
        Inspection("misconfigurations", CHECKOUT, f"{len(configurations)} files, {checks} checks", "",
             (*misconfigurations(report), *comments), nothing, readable if unreadable else ""),
    ]  # fmt: skip


def misconfigurations(report: Report) -> tuple[Finding, ...]:
    """Return the configuration that a check failed."""
    kind: Kind = "misconfigurations"
    return tuple(
        Finding(kind, one.id, severity_of(one.severity), CHECKOUT, one.title, result.target, one.cause.line,
                then=one.resolution, url=one.url)
        for result in report.results for one in result.misconfigurations if one.status == "FAIL"
    )  # fmt: skip
