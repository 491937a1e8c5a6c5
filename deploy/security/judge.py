"""Judge what was looked at by severity, waivers, a base report, and how strict this is. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.config.sections import Kind
from deploy.config.settings import Settings
from deploy.security.findings import CHECKOUT, Finding, Inspection, by_severity, severe
from deploy.security.waivers import FILE, Waiver, Waivers, accepting, unused
from deploy.site.checks import Result

MAIN = "refs/heads/main"


@dataclass(frozen=True)
class Strict:
    """Whether UNKNOWN fails, and which setting decided that."""

    fails: bool
    by: str


@dataclass(frozen=True)
class Judged:
    """One check: what it looked at, what of its findings counts, and what was let through and why."""

    inspection: Inspection
    blocking: tuple[Finding, ...] = ()
    waived: tuple[tuple[Finding, Waiver], ...] = ()
    in_base: tuple[Finding, ...] = ()
    lower: tuple[Finding, ...] = ()

    @property
    def result(self) -> Result:
        """FAIL where something counts, UNKNOWN where it could not look."""
        return "FAIL" if self.blocking else "UNKNOWN" if self.inspection.unknown else "PASS"

    @property
    def without_base(self) -> Result:
        """The same for a release: what was there before blocks it, too."""
        return "FAIL" if self.in_base else self.result


def strictness(settings: Settings, environ: Mapping[str, str]) -> Strict:
    """Decide whether UNKNOWN fails: by setting, else for prod, and on main and for tags in CI."""
    if settings.scan.strict is not None:
        return Strict(settings.scan.strict, f"scan.strict = {str(settings.scan.strict).lower()}")
    if settings.asks:
        return Strict(True, f"--env={settings.env}, and scan.strict is not set")
    ref = environ.get("GITHUB_REF", "")
    if environ.get("CI") and (ref == MAIN or ref.startswith("refs/tags/")):
        return Strict(True, f"CI is on {ref}, and scan.strict is not set")
    return Strict(False, "scan.strict is not set, and this is neither prod nor main in CI")


def judge(inspection: Inspection, waivers: Sequence[Waiver], base: Mapping[str, int], settings: Settings) -> Judged:
    """Sort the findings of one inspection: those that are accepted, not new, or not severe enough do not count.

    `base` has how often each fingerprint was there before: a second key of one kind in one file is new.
    """
    severe_ones = [one for one in by_severity(inspection.findings) if severe(one.severity, settings.scan.severity)]
    waived = [(one, waiver) for one in severe_ones if (waiver := accepting(one, waivers))]
    left = [one for one in severe_ones if not accepting(one, waivers)]
    new, old = divided(left, base)
    return Judged(
        inspection,
        blocking=new,
        waived=tuple(waived),
        in_base=old,
        lower=tuple(
            one for one in by_severity(inspection.findings) if not severe(one.severity, settings.scan.severity)
        ),
    )


def divided(findings: Iterable[Finding], base: Mapping[str, int]) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """Divide findings into those that are new and those that the base has, as often as it has them. Pure."""
    left, new, old = Counter(base), list[Finding](), list[Finding]()
    for one in findings:
        (old if left[one.fingerprint] > 0 else new).append(one)
        left[one.fingerprint] -= 1
    return tuple(new), tuple(old)


def judge_waivers(waivers: Waivers, inspections: Sequence[Inspection], base: Mapping[str, int]) -> Judged:
    """Check the waivers themselves: complete, not expired, and each of use; what the base has as well is not new."""
    kind: Kind = "misconfigurations"
    findings = [
        Finding(kind, "waiver", "HIGH", CHECKOUT, one.words, FILE, subject=one.waiver, then=f"edit {FILE}")
        for one in (*waivers.mistakes, *unused(waivers.valid, inspections))
    ]
    scope = f"{len(waivers.valid)} waivers that hold"
    new, old = divided(findings, base)
    return Judged(Inspection(kind, FILE, scope, findings=tuple(findings)), blocking=new, in_base=old)


def verdict(results: Iterable[Result]) -> Result:
    """Put results together: the worst of them; nothing at all is UNKNOWN."""
    collected = set(results)
    order: tuple[Result, ...] = ("FAIL", "UNKNOWN", "PASS")
    return next((result for result in order if result in collected), "UNKNOWN")


def reasons(judged: Iterable[Judged]) -> tuple[str, ...]:
    """Say why an image is no PASS, shortly."""
    lines = [
        f"{one.inspection.kind}: {one.inspection.unknown}"
        for one in judged
        if one.inspection.unknown and not one.blocking
    ]
    return tuple(lines + [f"{finding.id} {finding.subject}".strip() for one in judged
                          for finding in (*one.blocking, *one.in_base)])  # fmt: skip
