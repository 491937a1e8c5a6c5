"""How a command is told: hosts are observed once per change, and a deploy grows no further calls, files and frames."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.facts import Facts
from deploy.hosts.host import Host
from deploy.rollout import commands
from deploy.site import facts
from tests.flow.test_shared import Shop, made
from tests.flow.trace import traced
from tests.support.apart import Site
from tests.support.faults import fail_at, killed

# 45 calls and 4 files are the gate of migrations and its backup, one file the login of the edge; two came
# when files of 400 and 365 lines were cut by subject, and no call with them
MOST_CROSSINGS, MOST_FILES, MOST_FRAMES = 965, 69, 23
pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(tmp_path, monkeypatch)


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each host is observed."""
    count, observe = Counter[str](), facts.observe

    def counting(settings: Settings, host: Host) -> Facts:
        count[host.name] += 1
        return observe(settings, host)

    for module in ("deploy.site.facts", "deploy.rollout.revert", "deploy.rollout.failures"):
        monkeypatch.setattr(f"{module}.observe", counting)
    return count


def again(shop: Shop) -> None:
    shop.put("r1")


def next_release(shop: Shop) -> None:
    shop.put("r2")


def back(shop: Shop) -> None:
    commands.rollback(shop.at)


@pytest.mark.parametrize("act", [again, next_release, back])
def test_a_command_observes_a_host_once(
    shop: Shop, act: Callable[[Shop], None], request: pytest.FixtureRequest
) -> None:
    if act is back:
        shop.put("r2")
    count = request.getfixturevalue("observed")
    act(shop)
    assert count == {"localhost": 1}


def test_a_plan_observes_a_host_once(shop: Shop, observed: Counter[str]) -> None:
    commands.plan(shop.at)
    assert observed == {"localhost": 1}


def test_many_hosts_are_observed_once_each(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = Site(tmp_path)
    count = request.getfixturevalue("observed")
    commands.rollback(site.at)
    assert count == dict.fromkeys(site.hosts, 1)


def test_a_failure_is_observed_before_going_back_and_after(shop: Shop, observed: Counter[str]) -> None:
    """Besides the first time: once to plan the way back, once to see where it led, once to say what serves."""
    fail_at(shop.host, "Switch")
    with pytest.raises(OpsError):
        shop.put("r2")
    assert observed == {"localhost": 4}


def test_an_abort_observes_before_and_after(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    site = Site(tmp_path)
    killed(site, site.hosts["app1"], "Switch", "r3")
    count = request.getfixturevalue("observed")
    assert commands.abort(site.at)
    assert count == dict.fromkeys(site.hosts, 2)


def test_a_deploy_takes_no_more_calls_files_and_frames_than_it_did(shop: Shop) -> None:
    """These numbers only go down: lower them with what you take away."""
    shop.bundle = made("r2")
    trace = traced(lambda: commands.deploy(shop.at))
    assert trace.crossings <= MOST_CROSSINGS, sorted(trace.calls.items(), key=lambda call: -call[1])
    assert len(trace.files) <= MOST_FILES, sorted(trace.files)
    assert trace.depth <= MOST_FRAMES
