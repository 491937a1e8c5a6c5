"""Show a scan: tables for people, one JSON document, SARIF; all of them are derived from the same scan."""

from __future__ import annotations

import json as jsonlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deploy.core import console
from deploy.core.errors import GateClosed, Refused, acting
from deploy.security.findings import CHECKOUT, Finding, by_severity
from deploy.security.judge import Judged, Strict

if TYPE_CHECKING:
    from deploy.security.scan import Scanned

TITLES = {
    "vulnerabilities": "known vulnerabilities", "end-of-life": "end of life", "secrets": "secrets",
    "misconfigurations": "configuration", "history": "secrets in the history", "dockerfiles": "Dockerfiles",
    "build-check": "docker build --check", "shell": "shell scripts", "actions": "workflow syntax",
    "workflows": "workflow security",
}  # fmt: skip
WAIVERS = "waivers"
ORDER = (*TITLES.values(), WAIVERS)
LESS = "less severe"
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
LEVELS = {"CRITICAL": "error", "HIGH": "error", "MEDIUM": "warning", "LOW": "note", "UNKNOWN": "note"}
SCORES = {"CRITICAL": "9.5", "HIGH": "8.0", "MEDIUM": "5.0", "LOW": "2.0", "UNKNOWN": "0.0"}


def fingerprints(base: str, strict: Strict) -> Counter[str]:
    """Read what counted in an earlier report of `inv scan --json`; raise Refused where that excuses nothing."""
    if not base:
        return Counter()
    then = "inv scan --json > base.json on the branch that it is compared with"
    if strict.fails:
        what = f"a base report excuses nothing here: {strict.by}"
        raise Refused(what, where="--base", then="inv scan without --base", slug="base-not-allowed")
    try:
        document = jsonlib.loads(Path(base).read_text())
        return Counter(one["fingerprint"] for one in document["findings"] if one["state"] != LESS)
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"{base} is no report of `inv scan --json`: {error!r}"
        raise Refused(what, where=base, then=then, slug="base-unreadable") from None


def title(judged: Judged) -> str:
    """Name a check for people."""
    return WAIVERS if judged.inspection.where.endswith(".toml") else TITLES[judged.inspection.kind]


def evidence(judged: Judged) -> str:
    """Say what was looked at, how old the data is, and what did not count."""
    inspection = judged.inspection
    parts = [inspection.scope] if inspection.scope else []
    parts += [f"data {inspection.age}"] if inspection.age else []
    parts += [f"{len(judged.waived)} waived"] if judged.waived else []
    parts += [f"{len(judged.in_base)} in the base report"] if judged.in_base else []
    parts += [f"{len(judged.lower)} less severe"] if judged.lower else []
    return "; ".join([inspection.unknown, *parts] if inspection.unknown else parts)


def advice(judged: Judged) -> str:
    """Return the next command of a check."""
    return "the findings below" if judged.blocking else judged.inspection.then if judged.result == "UNKNOWN" else ""


def show(result: Scanned, *, json: bool, sarif: Path | None = None) -> None:
    """Show a scan; raise GateClosed, exit 3, when a check is FAIL, or UNKNOWN where that fails."""
    if sarif:
        sarif.write_text(jsonlib.dumps(sarif_of(result), indent=1) + "\n")
    if json:
        console.document(document(result))
    else:
        show_tables(result)
    for name, error in result.unrecorded.items():
        console.warn(f"not recorded on {name}, where a deploy goes by what was recorded before: {error.what}")
    summarize(result)
    require_open(result, documented=json)


def show_tables(result: Scanned) -> None:
    """Print the checks, then what counts and what is waived."""
    rows, above = list[list[str]](), ""
    for one in sorted(result.judged, key=lambda one: ORDER.index(title(one))):  # stable: images as they came
        name = "" if title(one) == above else title(one)
        rows.append([one.result, name, one.inspection.where, evidence(one), acting(advice(one), result.env)])
        above = title(one)
    console.table(["", "check", "of", "looked at", "next"], rows)
    blocking = [finding for one in result.judged for finding in one.blocking]
    if blocking:
        console.say("")
        console.table(
            ["severity", "finding", "where", "what", "fixed in", "next"],
            [[one.severity, one.id, one.place, described(one), one.fixed or "-", one.then] for one in blocking],
        )
    for finding, waiver in (pair for one in result.judged for pair in one.waived):
        words = f"{waiver.statement} ({waiver.owner}, until {waiver.expired_at})"
        console.say(f"waived: {finding.id} in {finding.place}: {words}")
    for finding in (finding for one in result.judged if title(one) == WAIVERS for finding in one.in_base):
        console.warn(f"{finding.path}: {described(finding)}; it was there before, and fails on main and for a release")


def described(finding: Finding) -> str:
    """Say what a finding is about: the package, and what is wrong with it."""
    return f"{finding.subject}: {finding.title}" if finding.subject else finding.title


def summarize(result: Scanned) -> None:
    """Say in one line what it came to, and which setting decided about UNKNOWN."""
    counts = {word: sum(one.result == word for one in result.judged) for word in ("PASS", "FAIL", "UNKNOWN")}
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    left = f"; left out by scan.skip: {', '.join(result.skipped)}" if result.skipped else ""
    console.say(f"{len(result.images)} images and the checkout in {result.seconds:.1f} s: {words}{left}")
    if counts["UNKNOWN"]:
        console.say(f"UNKNOWN {'fails' if result.strict.fails else 'only warns'} here: {result.strict.by}")
    console.summary(f"inv scan, {result.env}", {"result": words, "revision": result.revision})


def require_open(result: Scanned, *, documented: bool) -> None:
    """Raise GateClosed when a check closes the gate."""
    closing = [
        f"{title(one)} of {one.inspection.where} is {one.result}" for one in result.judged
        if one.result == "FAIL" or (one.result == "UNKNOWN" and result.strict.fails)
    ]  # fmt: skip
    if closing:
        what = f"the scan did not pass: {', '.join(closing)}"
        raise GateClosed(what, then="the commands in the table", slug="scan-closed", documented=documented)


def document(result: Scanned) -> dict[str, Any]:
    """Return the scan for programs."""
    return {
        "env": result.env, "revision": result.revision, "seconds": round(result.seconds, 1),
        "unknown": {"fails": result.strict.fails, "by": result.strict.by},
        "database": {"updated": result.data.updated, "hours": round(result.data.hours, 1)},
        "checks": [checked(one, result.env) for one in result.judged],
        "findings": [recorded(finding, state) for finding, state in every(result.judged)],
        "images": [{"image": scan.image, "digest": scan.digest, "config": scan.config, "result": scan.result}
                   for _, scan in result.images],
        "skipped": list(result.skipped),
        "unrecorded": {name: error.what for name, error in result.unrecorded.items()},
    }  # fmt: skip


def checked(one: Judged, env: str) -> dict[str, Any]:
    """Return one check for programs."""
    kind = WAIVERS if title(one) == WAIVERS else one.inspection.kind
    return {
        "check": kind, "where": one.inspection.where, "result": one.result, "looked_at": one.inspection.scope,
        "data": one.inspection.age, "unknown": one.inspection.unknown, "next": acting(advice(one), env),
    }  # fmt: skip


def every(judged: Iterable[Judged]) -> Iterable[tuple[Finding, str]]:
    """Yield every finding with what became of it."""
    for one in judged:
        yield from ((finding, "blocks") for finding in one.blocking)
        yield from ((finding, "in the base report") for finding in one.in_base)
        yield from ((finding, "waived") for finding, _ in one.waived)
        yield from ((finding, LESS) for finding in one.lower)


def recorded(finding: Finding, state: str) -> dict[str, Any]:
    """Return one finding for programs."""
    fields = asdict(finding)
    then = fields.pop("then")
    return {"state": state, "fingerprint": finding.fingerprint, **fields, "next": then}


def sarif_of(result: Scanned) -> dict[str, Any]:
    """Return the findings as SARIF 2.1.0, which GitHub's code scanning reads; what is waived is suppressed.

    https://docs.github.com/en/code-security/reference/code-scanning/sarif-support-for-code-scanning
    """
    entries = list(every(result.judged))
    rules = {finding.id: finding for finding in reversed(by_severity(finding for finding, _ in entries))}
    return {
        "$schema": SARIF, "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "inv scan", "rules": [rule(one) for one in rules.values()]}},
                  "results": [sarif_result(finding, state) for finding, state in entries]}],
    }  # fmt: skip


def rule(finding: Finding) -> dict[str, Any]:
    """Return the rule that a finding breaks."""
    return {
        "id": finding.id, "shortDescription": {"text": finding.title[:1000]},
        **({"helpUri": finding.url} if finding.url else {}),
        "properties": {"security-severity": SCORES[finding.severity], "tags": ["security", finding.kind]},
    }  # fmt: skip


def sarif_result(finding: Finding, state: str) -> dict[str, Any]:
    """Return one finding; one of an image is shown at the image's name, since no file of the checkout has it.

    GitHub takes relative URIs alone: the tag of `postgres:15` would make the rest a scheme.
    """
    place = finding.path or CHECKOUT if finding.where == CHECKOUT else f"images/{finding.where}"
    text = ". ".join(filter(None, (described(finding), finding.fixed and f"Fixed in {finding.fixed}", finding.then)))
    return {
        "ruleId": finding.id, "level": LEVELS[finding.severity], "message": {"text": text},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": quote(place)},
                                            "region": {"startLine": max(1, finding.line)}}}],
        "partialFingerprints": {"inv/v1": finding.fingerprint},
        **({"suppressions": [{"kind": "external"}]} if state == "waived" else {}),
    }  # fmt: skip
