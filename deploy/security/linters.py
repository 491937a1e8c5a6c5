"""Scanners of files, each a value: which files it reads, how it is run, what its answer means. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from deploy.config.sections import Kind
from deploy.images import bake
from deploy.security.findings import CHECKOUT, Finding, Severity, Unreadable

SHELL = re.compile(r"#! ?/(usr/)?bin/(env )?(ba|da|k)?sh\b")
LEVELS: Mapping[str, Severity] = {"error": "HIGH", "warning": "MEDIUM", "info": "LOW", "style": "LOW", "ignore": "LOW"}
CONFIDENCE: Mapping[str, Severity] = {"High": "HIGH", "Medium": "MEDIUM", "Low": "LOW", "Informational": "LOW"}
DOCKERFILES = ("*[Dd]ockerfile", "Dockerfile.*", "*[Cc]ontainerfile", "Containerfile.*")
WORKFLOWS = (".github/workflows/*.yml", ".github/workflows/*.yaml")
# what workflows run, and what a bot does
ACTIONS = (".github/*action.yml", ".github/*action.yaml", ".github/dependabot.yml", ".github/dependabot.yaml")
# in place of a linter's own settings in a checkout or a home: what one of them lets through has no owner and no end
SETTINGS = Path(__file__).with_name("hadolint.yaml")


@dataclass(frozen=True)
class Linter:
    """One scanner: the program, the files that it is for, its words in front of them, and how its answer is read.

    `codes` are the exit codes of a run that came to its end.
    """

    kind: Kind
    program: str
    patterns: tuple[str, ...]
    words: tuple[str, ...]
    read: Callable[[Any], Sequence[Finding]]
    codes: tuple[int, ...] = (0, 1)
    scripts: bool = False  # also files without a name's ending that begin as shell scripts
    comment: str = ""  # what lets a finding through in a file, where the program knows no way to refuse that
    passed_over: str = ""  # what it prints of a file that it does not look at, whatever its exit code

    def chooses(self, path: str, first_line: str) -> bool:
        """Tell whether a file is one of its own."""
        names = (path, PurePosixPath(path).name)
        named = not path.endswith(".dockerignore") and any(fnmatch(n, p) for n in names for p in self.patterns)
        return named or (self.scripts and bool(SHELL.match(first_line)))

    def findings(self, answer: str) -> tuple[Finding, ...]:
        """Read an answer; raise Unreadable for one of another shape than this was written for."""
        return parse(self.program, answer, self.read)


def parse(program: str, answer: str, read: Callable[[Any], Sequence[Finding]]) -> tuple[Finding, ...]:
    """Read a scanner's JSON; raise Unreadable for one of another shape than `read` was written for."""
    try:
        return tuple(read(json.loads(answer)))
    except Unreadable:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Unreadable(f"{program} answered in a shape that this toolkit does not read: {error!r}") from None


def listed(document: Any) -> list[Any]:
    """Return a list; raise TypeError for anything else, an object that is empty among them."""
    if not isinstance(document, list):
        raise TypeError("no list")
    return document


def hadolint(document: Any) -> list[Finding]:
    """Read what hadolint says of Dockerfiles."""
    return [
        Finding("dockerfiles", one["code"], LEVELS[one["level"]], CHECKOUT, one["message"], one["file"], one["line"],
                url=f"https://github.com/hadolint/hadolint/wiki/{one['code']}")
        for one in listed(document)
    ]  # fmt: skip


def shellcheck(document: Any) -> list[Finding]:
    """Read what ShellCheck says of scripts."""
    return [
        Finding("shell", f"SC{one['code']}", LEVELS[one["level"]], CHECKOUT, one["message"], one["file"], one["line"],
                url=f"https://www.shellcheck.net/wiki/SC{one['code']}")
        for one in listed(document["comments"])
    ]  # fmt: skip


def zizmor(document: Any) -> list[Finding]:
    """Read what zizmor says of workflows."""
    return [
        Finding("workflows", one["ident"], CONFIDENCE[one["determinations"]["severity"]], CHECKOUT, one["desc"],
                *zizmor_place(one["locations"]), url=one["url"])
        for one in listed(document)
    ]  # fmt: skip


def zizmor_place(locations: list[Any]) -> tuple[str, int]:
    """Return the file and the line of a finding: its primary location's."""
    primary = next((one for one in locations if one["symbolic"]["kind"] == "Primary"), locations[0])
    path = primary["symbolic"]["key"]["Local"]["verbatim_path"]
    return str(path), int(primary["concrete"]["location"]["start_point"]["row"]) + 1


def actionlint(document: Any) -> list[Finding]:
    """Read what actionlint says of workflows: what the runner would not take, or take for something else."""
    return [
        Finding("actions", one["kind"], "HIGH", CHECKOUT, one["message"], one["filepath"], one["line"])
        for one in listed(document)
    ]


def gitleaks(document: Any) -> list[Finding]:
    """Read what gitleaks says of the history; the value itself was replaced by it."""
    then = "make it invalid where it is used; whoever has cloned the history has it"
    return [
        Finding("history", one["RuleID"], "CRITICAL", CHECKOUT, one["Description"], one["File"], one["StartLine"],
                subject=f"{one['Commit'][:12]} (commit)", then=then)
        for one in listed(document)
    ]  # fmt: skip


def build_check(document: Any) -> list[Finding]:
    """Read what BuildKit's own check says of the targets of a bake file.

    Where it has nothing to say `warnings` is null: https://github.com/moby/buildkit/tree/master/frontend/subrequests
    """
    return [
        Finding("build-check", one["ruleName"], "MEDIUM", CHECKOUT, one["detail"], bake.dockerfile(target["build"]),
                one["location"]["ranges"][0]["start"]["line"], url=one["url"])
        for target in document["target"].values() for one in warnings(target["check"], bake.dockerfile(target["build"]))
    ]  # fmt: skip


def warnings(result: Any, path: str) -> list[Any]:
    """Return the warnings for one target; raise Unreadable where BuildKit could not check its Dockerfile."""
    if failed := result.get("error") or result.get("buildError"):
        why = failed.get("message", failed) if isinstance(failed, dict) else failed
        raise Unreadable(f"BuildKit could not check {path}: {why}")
    return [] if result["warnings"] is None else listed(result["warnings"])


def comments(kind: Kind, pattern: str, severity: Severity, path: str, text: str) -> list[Finding]:
    """Find the comments of one file that let findings through: nobody answers for them, and they have no end."""
    then = "remove it; fix what it hides, or accept that in deploy/waivers.toml"
    return [
        Finding(kind, "ignored-inline", severity, CHECKOUT, f"a comment lets findings through: {match[0]}",
                path, number, then=then)  # not the line, which may hold a secret
        for number, line in enumerate(text.splitlines(), 1) if (match := re.search(rf"(?:{pattern})\S*", line))
    ]  # fmt: skip


LINTERS = (
    Linter("dockerfiles", "hadolint", DOCKERFILES,
           (f"--config={SETTINGS}", "--disable-ignore-pragma", "--format=json", "--no-fail", "--no-color"),
           hadolint, (0,)),
    Linter("shell", "shellcheck", ("*.sh",), ("--norc", "--format=json1", "--external-sources"), shellcheck,
           scripts=True, comment=r"#\s*shellcheck\s+(.*\s)?disable="),
    # it needs no network for this, and its exit code names the worst severity: 11 to 14
    Linter("workflows", "zizmor", (*WORKFLOWS, *ACTIONS),
           ("--format=json-v1", "--offline", "--no-progress", "--quiet", "--no-config", "--no-ignores"), zizmor,
           (0, 11, 12, 13, 14), passed_over=r"failed to (validate|parse|load) .*"),
    Linter("actions", "actionlint", WORKFLOWS, (f"-config-file={SETTINGS}", "-format={{json .}}"), actionlint),
)  # fmt: skip
