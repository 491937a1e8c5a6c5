"""`inv metrics` of real files and a real git history."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.hosts.local import LocalHost
from deploy.incidents import metrics
from deploy.state.store import State
from tests.support.samples import settings
from tests.unit.test_metrics import DAY, entry

Printed = pytest.CaptureFixture[str]
MANY = 10_000
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")


@pytest.fixture
def at(tmp_path: Path) -> Environment:
    host = LocalHost()
    return Environment(settings(tmp_path, state=tmp_path / "state"), host, (host,))


def measured(at: Environment, capsys: Printed) -> dict[str, dict[str, object]]:
    metrics.show(at, days=30, json=True)
    return {one["name"]: one for one in json.loads(capsys.readouterr().out)["measures"]}


def test_without_ledger_and_git_everything_is_unknown_and_nothing_is_zero(at: Environment, capsys: Printed) -> None:
    shown = measured(at, capsys)
    assert [(one["value"], one["unknown"]) for one in shown.values()] == [(None, True)] * 4
    metrics.show(at, days=30, json=False)
    assert capsys.readouterr().out.count("UNKNOWN") == 4


def test_what_a_checkout_and_a_ledger_say(at: Environment, capsys: Printed) -> None:
    root, state = at.settings.root, State(at.here, at.settings.state_dir)
    subprocess.run([*GIT, "init", "--quiet"], cwd=root, check=True)
    subprocess.run([*GIT, "commit", "--quiet", "--allow-empty", "-m", "one"], cwd=root, check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True).stdout
    later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    state.record(entry("r1", DAY, revision=head[:12], started=later))
    shown = measured(at, capsys)
    assert 3600 <= float(str(shown["lead time"]["value"])) <= 3700
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{root}", "shallow"], cwd=root, check=True)
    part = at._replace(settings=at.settings.model_copy(update={"root": root / "shallow"}))
    assert "git fetch --unshallow" in str(measured(part, capsys)["lead time"]["evidence"])


def test_days_must_be_some(at: Environment) -> None:
    with pytest.raises(Refused, match="--days must be 1 or more"):
        metrics.show(at, days=0, json=False)


def test_a_host_that_does_not_answer_is_an_error_after_the_table(
    at: Environment, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = LocalHost()
    other.name = "app2"
    State(at.here, at.settings.state_dir).record(entry("r1", DAY))

    def broken(path: Path) -> str:
        raise OpsError("app2 did not answer")

    monkeypatch.setattr(other, "read", broken)
    with pytest.raises(OpsError, match="app2 did not answer"):
        metrics.show(at._replace(hosts=(at.here, other)), days=30, json=True)
    assert json.loads(capsys.readouterr().out)["measures"][0]["unknown"] is False


def test_ten_thousand_releases_take_less_than_a_second(at: Environment, capsys: Printed) -> None:
    """In this process's own time, and beside reading the same lines as JSON: a busy machine slows both."""
    folder = at.settings.state_dir
    folder.mkdir(parents=True)
    lines = [
        entry(f"{n:012x}", DAY * n / 400, outcome="failed" if n % 5 == 0 else "in service") for n in range(MANY, 0, -1)
    ]
    text = "".join(f"{line.model_dump_json()}\n" for line in lines)
    (folder / "ledger.jsonl").write_text(text)
    steps = [{"step": "Switch", "state": "done", "target": line.release, "time": line.started} for line in lines]
    (folder / "journal.jsonl").write_text("".join(f"{json.dumps(step)}\n" for step in steps))
    begun = time.process_time()
    assert len([json.loads(line) for line in text.splitlines()]) == MANY
    reading, begun = time.process_time() - begun, time.process_time()
    shown = measured(at, capsys)
    took = time.process_time() - begun
    assert shown["change failure rate"]["evidence"] == "2000 of 10000 deploy(s)"
    assert took < max(1.0, 40 * reading), f"{took:.2f} s, and {reading:.3f} s to read the lines"
