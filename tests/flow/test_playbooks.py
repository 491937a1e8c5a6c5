"""Playbooks: every command that a page names is a real one with real flags, and pages are shown for an environment."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from invoke.parser import Parser

from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.incidents import playbooks
from deploy.tasks import namespace
from monitoring.programs import receiver
from tests.support import pages
from tests.support.place import Place

Printed = pytest.CaptureFixture[str]
PAGES, PARSER = playbooks.playbooks(), Parser(contexts=namespace.to_contexts())
EXPECTED = {
    "backup-failed", "bad-deploy", "certificate-expired", "data-loss", "database-down", "deploy-failed", "disk-full",
    "high-error-rate", "leaked-secret", "nobody-watches", "queue-stuck", "service-down", "slow-answers",
}  # fmt: skip
ALERTS = {
    rule["alert"]: rule["annotations"]
    for path in (ROOT / "monitoring/rules").glob("*.yml")
    for rule in yaml.load(path.read_text())["groups"][0]["rules"]
    if "alert" in rule
}
ENV = " --env={{ $externalLabels.env }}"
RUNBOOK = re.compile(rf"inv incident\.playbook ([a-z-]+){re.escape(ENV)}")


def assert_real(line: list[str]) -> None:
    """Assert that invoke takes a line, as the command that it names; `inv backup` is a collection's own one."""
    parsed = PARSER.parse_argv(line[1:])
    assert parsed[0].name in (line[1], f"{line[1]}.take"), line


def test_the_pages_that_there_are() -> None:
    assert set(PAGES) == EXPECTED


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_is_a_real_one_with_real_flags(name: str) -> None:
    text = PAGES[name].text
    typed = [*pages.commands(text, pages.FILLED), *pages.mentioned(text, pages.FILLED)]
    assert len(pages.commands(text, pages.FILLED)) >= 4
    for line in typed:
        assert line[0] == "inv", line
        assert_real(line)
        left = [word for word in line if word.isupper()]
        assert not left, f"{left} of `{' '.join(line)}` is no placeholder that tests know"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_page_which_names_it(alert: str) -> None:
    linked = RUNBOOK.fullmatch(ALERTS[alert]["runbook"])
    assert linked, ALERTS[alert]["runbook"]
    named = "nobody watches" if alert == "Watchdog" else re.sub(r".+(NotWatched)", r"\1", alert)
    assert named in PAGES[linked[1]].text


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_commands_that_are_real_ones(alert: str) -> None:
    typed = re.findall(r"inv [a-z.]+[^;,]*", ALERTS[alert]["next"].replace(ENV, " --env=prod"))
    for line in (shlex.split(re.sub(r"{{.*?}}", "worker", one)) for one in typed):
        assert_real(line[: line.index("--env=prod") + 1] if "--env=prod" in line else line)


def test_when_nobody_watches_the_message_has_its_page() -> None:
    assert receiver.RUNBOOK.partition("playbook ")[2] in PAGES


@pytest.mark.parametrize("typed", ["inv stauts", "inv rollback --too=r1", "inv disk all"])
def test_a_command_that_is_none_would_be_seen(typed: str) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011  # invoke leaves by several ways
        Parser(contexts=namespace.to_contexts()).parse_argv(typed.split()[1:])


def test_a_page_is_shown_with_commands_for_its_environment(place: Place, capsys: Printed) -> None:
    playbooks.show(place.at, "bad-deploy", json=False)
    assert capsys.readouterr().out == (ROOT / "docs/playbooks/bad-deploy.md").read_text()
    staging = place.at._replace(settings=place.settings.model_copy(update={"env": "staging"}))
    playbooks.show(staging, "bad-deploy", json=True)
    page = json.loads(capsys.readouterr().out)
    assert "\ninv rollback --env=staging " in page["page"]
    assert page["title"] == "A bad deploy"


def test_without_a_name_all_are_listed_and_one_that_is_none_is_refused(place: Place, capsys: Printed) -> None:
    playbooks.show(place.at, "", json=True)
    assert {one["name"] for one in json.loads(capsys.readouterr().out)} == EXPECTED
    playbooks.show(place.at, "", json=False)
    assert capsys.readouterr().out.count("\n") == len(EXPECTED) + 1
    with pytest.raises(Refused, match="there is no playbook `bad-deplyo`; did you mean bad-deploy"):
        playbooks.show(place.at, "bad-deplyo", json=False)
