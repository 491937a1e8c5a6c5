"""The script that renews on a host, run by a shell where docker is a script: what it asks for, and who is notified."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.certificates import schedule
from deploy.certificates.store import ISSUE_SECONDS
from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.core.errors import Refused
from deploy.edge import switch
from deploy.rollout import takedown
from tests.flow.test_certificates import Place, make

__all__ = ["make"]  # a fixture

DOCKER = """#!/bin/sh
echo "$*" >>{folder}/asked
case " $* " in
  *"ps --quiet"*) cat {folder}/working 2>/dev/null ;;
  *" wait "*) while [ -f {folder}/working ]; do sleep 0.1; done ;;
  *" rm --force "*) rm -f {folder}/working ;;
  *"ps --filter"*) echo shop-local-edge-1 ;;
  *" issue "*) {issue} ;;
  *" handshake "*"--within"*) test -f {folder}/reloaded ;;
  *" handshake "*) test ! -f {folder}/due ;;
  *" select "*) echo '{{"version": "x", "former": "y"}}' ;;
  *" nginx "*) {test} ;;
  *" kill "*) touch {folder}/reloaded ;;
  *" notify "*) cat >{folder}/notified ;;
esac
"""
DOCUMENT = '{"version": "new1", "served": "old1", "not_before": 1, "not_after": 1900000000, "chain": "-----BEGIN"}'


class Night:
    """A run of the host's own timer."""

    def __init__(self, place: Place) -> None:
        self.place, self.folder, self.state = place, place.folder / "night", place.folder / "state"
        (self.folder / "bin").mkdir(parents=True)
        self.script = self.state / schedule.SCRIPT
        text = schedule.render(place.store, self.state)
        self.script.write_text(re.sub("(?m) false$", " docker run notify it", text))
        (self.state / "ledger.jsonl").write_text('{"release":"r1","outcome":"in service"}\n')
        (self.state / schedule.ORDER).write_text("{}\n")

    def run(self, issue: str = f"echo '{DOCUMENT}'", test: str = "true", *, due: bool = True) -> int:
        """Run it to its end."""
        if due:
            (self.folder / "due").touch()
        docker = self.folder / "bin" / "docker"
        docker.write_text(DOCKER.format(folder=self.folder, issue=issue, test=test))
        docker.chmod(0o755)
        path = f"{docker.parent}:{os.environ['PATH']}"
        return subprocess.run(["sh", str(self.script)], env={"PATH": path}, timeout=60, capture_output=True).returncode

    def asked(self) -> list[str]:
        """Which programs ran, in order."""
        text = (self.folder / "asked").read_text()
        return re.findall(r"issue|select \w+|handshake|(?<=exec shop-local-edge-1 )\w+", text)

    def metrics(self) -> str:
        """What the node exporter reads."""
        return (self.state / "metrics" / "certificates.prom").read_text()

    def notified(self) -> str:
        """What people were sent."""
        file = self.folder / "notified"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def night(make: Callable[..., Place]) -> Night:
    """A host that renews by itself."""
    return Night(make())


def test_the_timer_serves_what_was_renewed_and_writes_down_when_it_expires(night: Night) -> None:
    assert night.run() == 0
    assert night.asked() == ["issue", "handshake", "select new1", "nginx", "busybox", "handshake"]
    assert 'not_after_timestamp_seconds{app="shop-local"} 1900000000' in night.metrics()
    assert 'renewal_exit_code{app="shop-local"} 0' in night.metrics()
    assert night.notified() == ""


def test_the_words_of_a_hook_reach_the_container_as_they_are(make: Callable[..., Place], tmp_path: Path) -> None:
    """Whatever they hold: what the script fills in, and what a shell would run."""
    hook = ["/hook/dns", "--api-VERSION=2", "$(touch pwned)", "`id`", 'a "b" c', "r1"]
    night = Night(make(by="acme", challenge="dns-01", dns_hook=hook))
    assert night.run() == 0
    (asked,) = [line for line in (night.folder / "asked").read_text().splitlines() if " issue " in line]
    assert f" --dns-hook={shlex.join(hook)} " in asked
    seconds = sum(
        map(int, re.findall(r"_WITHIN = (\d+), (\d+)", (ROOT / "docker/certificates/ops_dns.py").read_text())[0])
    )
    assert f"\nrun {ISSUE_SECONDS + 2 * seconds} docker compose" in night.script.read_text(), "the time of two names"
    assert not [*tmp_path.rglob("pwned")]


def test_after_a_rollback_to_a_release_from_before_https_the_timer_goes_on(night: Night) -> None:
    with (night.state / "ledger.jsonl").open("a") as ledger:
        ledger.write('{"release":"r0","outcome":"in service"}\n{"release":"r2","outcome":"failed"}\n')
    (night.state / "releases" / "r0").mkdir()
    (night.state / "releases" / "r0" / "shared.yml").write_text("services: {}\n")
    assert night.run() == 0
    assert "/releases/r1/shared.yml" in (night.folder / "asked").read_text()


def test_the_timer_waits_for_somebody_who_obtains_one_by_hand_and_removes_what_hangs(night: Night) -> None:
    """Before, whatever was at work was taken for a success, also what never came to its end."""
    (night.folder / "working").write_text("cafe\n")
    text = night.script.read_text()
    night.script.write_text(text.replace(f"run {ISSUE_SECONDS} docker wait", "run 1 docker wait"))
    assert night.run() == 0
    assert not (night.folder / "working").exists(), "it hung"
    assert (night.asked()[0], night.notified()) == ("issue", "")
    words = [line.split()[0] for line in (night.folder / "asked").read_text().splitlines()]
    assert words.index("wait") < words.index("compose"), "one at a time"


def test_the_timer_leaves_the_edge_alone_where_nothing_is_due(night: Night) -> None:
    assert night.run(due=False) == 0
    assert night.asked() == ["issue", "handshake"]


def test_the_timer_goes_back_to_what_was_served_and_people_are_notified(night: Night) -> None:
    assert night.run(test="exit 1") == 1
    assert night.asked() == ["issue", "handshake", "select new1", "nginx", "select old1", "busybox"]
    assert "the new certificate could not be served; the one before is" in night.notified()


def test_a_server_that_is_away_is_asked_once_and_people_are_notified(night: Night) -> None:
    assert night.run(issue="exit 1") == 1
    assert night.asked() == ["issue"]
    assert "error: the server issued no certificate" in night.notified()
    assert "next: inv tls.check, then inv tls.renew" in night.notified()
    assert 'renewal_exit_code{app="shop-local"} 1' in night.metrics()


def test_the_timer_waits_for_a_deploy_and_says_so_when_that_takes_too_long(night: Night) -> None:
    night.script.write_text(night.script.read_text().replace(f"--wait {schedule.WAIT_SECONDS}", "--wait 0"))
    holder = subprocess.Popen(["flock", str(night.state / "lock"), "sleep", "60"])
    try:
        while subprocess.run(["flock", "--nonblock", str(night.state / "lock"), "true"]).returncode == 0:
            pass
        assert night.run() == 4
    finally:
        subprocess.run(["pkill", "--parent", str(holder.pid)])
        holder.wait(10)
    assert night.asked() == ["issue", "handshake"]
    assert "had the lock" in night.notified()


def test_the_reload_of_the_timer_is_that_of_a_switch(night: Night) -> None:
    assert " ".join(switch.reload("$edge").argv) in night.script.read_text().replace('"', "")


def by_settings(place: Place, by: str) -> Environment:
    """The same environment, with certificates from elsewhere."""
    tls = place.settings.tls.model_copy(update={"by": by})
    return Environment(place.settings.model_copy(update={"tls": tls}), place.host, (place.host,))


@pytest.mark.parametrize(("by", "left"), [("", False), ("file", False), ("acme", True)])
def test_a_deploy_without_acme_takes_the_timer_away(
    night: Night, monkeypatch: pytest.MonkeyPatch, by: str, left: bool
) -> None:
    """It would go on by former settings, and fail every six hours."""
    removed: list[str] = []
    monkeypatch.setattr("deploy.site.timers.remove", lambda _, timer: removed.append(timer.name))
    takedown.end_renewals(by_settings(night.place, by))
    assert (night.script.exists(), removed) == (left, [] if left else ["shop-local-certificates"])


def test_a_timer_that_stays_is_named_and_ends_no_deploy(
    night: Night, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise Refused("timers are installed by root", then="ssh.sudo = true", slug="not-root")

    monkeypatch.setattr("deploy.site.timers.remove", refuse)
    takedown.end_renewals(by_settings(night.place, ""))
    assert "may go on renewing a certificate by its timer: timers are installed by root" in capsys.readouterr().err


def test_taking_an_environment_down_takes_its_timer_away(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []
    monkeypatch.setattr("deploy.site.timers.remove", lambda _, timer: removed.append(timer.name))
    place = night.place
    takedown.unschedule(place.at, place.host)
    assert removed == ["shop-local-certificates"]
    assert not (night.state / schedule.SCRIPT).exists()
    assert not (night.state / schedule.ORDER).exists()
    takedown.unschedule(place.at, place.host)
    assert removed == ["shop-local-certificates"]
