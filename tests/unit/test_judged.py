"""Findings are judged by waivers and settings, and reported as they were judged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from deploy.config.sections import Scan
from deploy.config.settings import Settings
from deploy.core.errors import GateClosed, Refused
from deploy.security import judge, linters, report, waivers
from deploy.security.findings import CHECKOUT, Finding, Inspection, ScannedImage
from deploy.security.judge import Strict
from deploy.security.scan import Scanned, summarize
from tests.support.scanning import DATA, SETTINGS, answer, inspections_of

WAIVER = """
[[vulnerabilities]]
id = "CVE-2999-1"
purls = ["pkg:pypi/flask"]
statement = "the function is not called"
owner = "ana"
expired_at = 2026-12-31
"""
TODAY = date(2026, 11, 30)


def read(root: Path, text: str) -> waivers.Waivers:
    (root / "deploy").mkdir(exist_ok=True)
    (root / waivers.FILE).write_text(text)
    return waivers.read(root, TODAY)


def test_a_waiver_lets_one_finding_through(tmp_path: Path) -> None:
    valid, inspections = read(tmp_path, WAIVER).valid, inspections_of(answer(found=True))
    judged = judge.judge(inspections[0], valid, {}, SETTINGS)
    assert judged.result == "PASS"
    assert [waiver.owner for _, waiver in judged.waived] == ["ana"]
    assert judge.judge_waivers(read(tmp_path, WAIVER), inspections, {}).result == "PASS"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('owner = "ana"\n', ""), "CVE-2999-1: owner is missing"),
        (('statement = "the function is not called"\n', 'statement = " "\n'), "statement is missing"),
        (("expired_at = 2026-12-31\n", ""), "expired_at must be a date"),
        (("2026-12-31", '"soon"'), "expired_at must be a date"),
        (("2026-12-31", "2026-11-30"), "it expired on 2026-11-30"),
        (("2026-12-31", "2026-11-29T10:00:00Z"), "it expired on 2026-11-29"),
        (("2026-12-31", "2026-12-01T00:30:00+14:00"), "it expired on 2026-11-30"),
        (('["pkg:pypi/flask"]', "[]"), "purls names nothing; without it everything is accepted"),
        (("owner =", "ownr ="), "unknown key ownr; did you mean owner?"),
        (('["pkg:pypi/flask"]', '"pkg:pypi/flask"'), "purls must be a list"),
        (("[[vulnerabilities]]", "[[vulnerabilites]]"), "did you mean vulnerabilities?"),
        (("[[vulnerabilities]]", "[vulnerabilities]"), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, 'vulnerabilities = ["CVE-2999-1"]'), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, "vulnerabilities = [1]"), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, 'vulnerabilities = "CVE-2999-1"'), "under a line [[vulnerabilities]] with double brackets"),
        (("[[vulnerabilities]]", "[[history]]"), "commits is missing"),
        (("purls =", "commits ="), "commits is for [[history]] alone"),
        (("pkg:pypi/flask", "pkg:pypi/django"), "it accepts nothing"),
    ],
)
def test_a_waiver_that_is_wrong_fails_by_name(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """And lets nothing through."""
    given, inspections = read(tmp_path, WAIVER.replace(*change)), inspections_of(answer(found=True))
    judged = judge.judge_waivers(given, inspections, {})
    assert judged.result == "FAIL"
    assert words in report.described(judged.blocking[0])
    assert judge.judge(inspections[0], given.valid, {}, SETTINGS).result == "FAIL"


def test_a_waiver_that_was_wrong_before_warns_by_name_and_one_that_is_new_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a report that is the base of another; for prod, main and tags no base is taken."""
    inspections = inspections_of(answer(found=True))
    expired = WAIVER.replace("2026-12-31", "2026-11-30")
    first = judge.judge_waivers(read(tmp_path, expired), inspections, {})
    base = Counter(finding.fingerprint for finding in first.blocking)
    again = judge.judge_waivers(read(tmp_path, expired), inspections, base)
    assert (first.result, again.result, again.without_base) == ("FAIL", "PASS", "FAIL")
    report.show(replace(scanned([]), judged=(again,)), json=False)
    warned = capsys.readouterr().err
    assert "! deploy/waivers.toml: vulnerabilities/CVE-2999-1: it expired on 2026-11-30" in warned
    assert "it was there before, and fails on main and for a release" in warned
    other = WAIVER.replace("CVE-2999-1", "CVE-2999-2")
    for more in (expired + expired, expired + other, other):
        assert len(judge.judge_waivers(read(tmp_path, more), inspections, base).blocking) == 1, more


LEAK = {"RuleID": "aws", "Description": "a key", "Commit": "c" * 40, "File": ".env", "StartLine": 2}


def test_a_leak_that_is_accepted_accepts_no_other_of_the_same_file(tmp_path: Path) -> None:
    """Neither by a waiver, nor by the report of an earlier scan."""
    text = WAIVER.replace("vulnerabilities", "history").replace("CVE-2999-1", "aws")
    given = read(tmp_path, text.replace('purls = ["pkg:pypi/flask"]', f'paths = [".env"]\ncommits = ["{"c" * 40}"]'))
    old, new = linters.gitleaks([LEAK, LEAK | {"Commit": "d" * 40}])
    judged = judge.judge(Inspection("history", CHECKOUT, findings=(old, new)), given.valid, {}, SETTINGS)
    assert ([one for one, _ in judged.waived], judged.blocking) == ([old], (new,))
    assert old.fingerprint != new.fingerprint


def test_a_waiver_is_not_called_unused_where_nobody_could_look(tmp_path: Path) -> None:
    blind = [replace(inspection, unknown="no database", findings=()) for inspection in inspections_of(answer())]
    assert judge.judge_waivers(read(tmp_path, WAIVER), blind, {}).result == "PASS"


@pytest.mark.parametrize(
    ("purl", "matches"),
    [("pkg:pypi/flask", True), ("pkg:pypi/flask@1.0", True), ("pkg:pypi/flask@1", False), ("pkg:pypi/fla", False)],
)
def test_a_package_url_without_a_version_is_every_version(purl: str, matches: bool) -> None:
    assert waivers.names(purl, "pkg:pypi/flask@1.0") is matches


def scanned(inspections: list[Inspection], *, strict: bool = False, base: Mapping[str, int] | None = None) -> Scanned:
    judged = [judge.judge(inspection, (), base or {}, SETTINGS) for inspection in inspections]
    image = ScannedImage("app", "sha256:aa", "sha256:bb")
    scan = summarize(image, "r1", judged, DATA)
    how = Strict(strict, "a test")
    return Scanned("local", "r1", tuple(judged), ((image, scan),), how, DATA, (), 1.0, {})


def test_only_new_findings_block_with_a_base_report_and_all_of_them_a_release(tmp_path: Path) -> None:
    """The report of `inv scan --json` is the base of the next; what is recorded of the image excuses nothing."""
    first = scanned(inspections_of(answer(found=True)))
    base = tmp_path / "base.json"
    base.write_text(json.dumps(report.document(first)))
    earlier = report.fingerprints(str(base), Strict(False, ""))
    again = scanned(inspections_of(answer(found=True)), base=earlier)
    assert [one.result for one in again.judged] == ["PASS", "PASS", "PASS"]
    assert again.images[0][1].result == "FAIL"
    other = [replace(inspection, where="other") for inspection in inspections_of(answer(found=True))]
    other = [
        replace(inspection, findings=tuple(replace(f, where="other") for f in inspection.findings))
        for inspection in other
    ]
    assert scanned(other, base=earlier).judged[0].result == "FAIL"
    twice = [replace(inspection, findings=inspection.findings * 2) for inspection in inspections_of(answer(found=True))]
    assert scanned(twice, base=earlier).judged[0].result == "FAIL", (
        "a second one of the same kind in the same file is new"
    )
    lower = [
        replace(inspection, findings=tuple(replace(f, severity="LOW") for f in inspection.findings))
        for inspection in inspections_of(answer(found=True))
    ]
    base.write_text(json.dumps(report.document(scanned(lower))))
    assert not report.fingerprints(str(base), Strict(False, "")), "what was less severe excuses nothing that is severe"
    with pytest.raises(Refused, match="excuses nothing"):
        report.fingerprints(str(base), Strict(True, "prod"))
    base.write_text("{}")
    with pytest.raises(Refused, match="no report"):
        report.fingerprints(str(base), Strict(False, ""))


def test_unknown_warns_or_fails_and_the_report_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    blind = [Inspection("secrets", "app", unknown="it hung", then="inv doctor")]
    report.show(scanned(blind), json=False)
    assert "UNKNOWN only warns here: a test" in capsys.readouterr().err
    with pytest.raises(GateClosed, match="secrets of app is UNKNOWN"):
        report.show(scanned(blind, strict=True), json=True)
    assert json.loads(capsys.readouterr().out)["unknown"] == {"fails": True, "by": "a test"}


@pytest.mark.parametrize(
    ("env", "strict", "environ", "fails", "by"),
    [
        ("local", None, {}, False, "neither prod nor main"),
        ("prod", None, {}, True, "--env=prod"),
        ("prod", False, {}, False, "scan.strict = false"),
        ("local", True, {}, True, "scan.strict = true"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/heads/main"}, True, "refs/heads/main"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/tags/v1"}, True, "refs/tags/v1"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/pull/1/merge"}, False, "neither"),
    ],
)
def test_which_setting_decides_about_unknown(
    env: str, strict: bool | None, environ: dict[str, str], fails: bool, by: str
) -> None:
    settings: Settings = SETTINGS.model_copy(update={"env": env, "scan": Scan(strict=strict)})
    decided = judge.strictness(settings, environ)
    assert decided.fails is fails
    assert by in decided.by


def uri(finding: Finding) -> str:
    (place,) = report.sarif_result(finding, "blocks")["locations"]
    return str(place["physicalLocation"]["artifactLocation"]["uri"])


def test_sarif_is_derived_from_the_same_findings() -> None:
    secret = Finding("secrets", "aws-key", "HIGH", CHECKOUT, "a key", "deploy/app.toml", 7)
    result = scanned(
        [*inspections_of(answer(found=True)), Inspection("secrets", CHECKOUT, "3 files", findings=(secret,))]
    )
    (run,) = report.sarif_of(result)["runs"]
    assert {one["ruleId"] for one in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    place = run["results"][-1]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("deploy/app.toml", 7)
    assert uri(replace(secret, path="a file.md")) == "a%20file.md"
    assert uri(replace(secret, where="postgres:15-bookworm")) == "images/postgres%3A15-bookworm"
    assert all(one["partialFingerprints"] and one["locations"] for one in run["results"])
    assert len(report.document(result)["findings"]) == len(run["results"]) == 2


def test_a_rule_in_sarif_is_as_severe_as_its_worst_finding() -> None:
    """GitHub takes the severity of the rule, and `ignored-inline` is one of two kinds."""
    mild = Finding("shell", "ignored-inline", "LOW", CHECKOUT, "a comment", "a.sh")
    severe = replace(mild, kind="misconfigurations", severity="HIGH")
    for findings in ((mild, severe), (severe, mild)):
        (run,) = report.sarif_of(scanned([Inspection(one.kind, CHECKOUT, findings=(one,)) for one in findings]))["runs"]
        (rule,) = run["tool"]["driver"]["rules"]
        assert rule["properties"]["security-severity"] == report.SCORES["HIGH"]


def test_the_waivers_of_bookreader_are_whole() -> None:
    held = waivers.read(SETTINGS.root, TODAY)
    assert (held.mistakes, bool(held.valid)) == ((), True)
