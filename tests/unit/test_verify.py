"""Faults that are injected to time notifications: which there are, that each is reverted, how they are judged."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, OpsError, Refused
from deploy.core.facts import Container
from deploy.core.shell import Command
from deploy.hosts.local import LocalHost
from deploy.monitoring import alerts, faults, inject, stack, verify
from deploy.monitoring.faults import Fault, Place
from deploy.site.checks import Check
from monitoring.programs import halt, receiver
from tests.support import samples
from tests.support.monitored import group, run, service

STAMP = "2026-11-30T10:00:0{}.000000000Z"


def container(name: str, role: str, **more: Any) -> Container:
    return Container(f"{name}-1", name, role, "", "r1", "running", "", "image", **more)


def place(monkeypatch: pytest.MonkeyPatch, *containers: Container, backups: bool = False) -> Place:
    """A host with these containers, where nothing is asked or done."""
    monkeypatch.setattr(inject, "links", lambda *_: ())
    monkeypatch.setattr(inject, "smallest_disk", lambda *_: None)
    own = stack.stack_of(run(*([service("backup", "backup")] if backups else [])), "")
    return Place(run(), own, containers)


def fault(inject: Callable[[], object] = lambda: None, revert: Callable[[], object] = lambda: None) -> Fault:
    return Fault("stop-app", "ServiceDown", "app", "critical", inject, revert, "docker start app-1")


def names(own: Place) -> list[str]:
    return [one.name for one in faults.faults_of(own)]


def test_each_service_that_runs_is_stopped_and_what_is_not_there_is_not_injected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching = ["fail-address", "stop-receiver", "kill-prometheus", "kill-alertmanager"]
    app, worker = container("app", "web"), container("worker", "worker")
    assert names(place(monkeypatch, app)) == ["stop-app", "crash-app", *watching]
    assert names(place(monkeypatch, app, worker, container("postgres", "data"), backups=True)) == [
        "stop-app", "stop-worker", "stop-postgres", "kill-worker", "stop-backups", "crash-worker", *watching
    ]  # fmt: skip
    assert names(place(monkeypatch, replace(app, state="exited"))) == watching


def test_what_stops_every_container_of_a_service_starts_every_one(monkeypatch: pytest.MonkeyPatch) -> None:
    two = (container("app", "web"), replace(container("app", "web"), name="app-2"))
    stop, *_ = faults.faults_of(place(monkeypatch, *two))
    assert (stop.alert, stop.service, stop.limit) == ("ServiceDown", "app", 45)
    assert stop.by_hand == "docker start app-1 app-2"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run on the host, and written there, in order; a question is answered with what it asks about."""
    lines = list[str]()

    def ran(_: LocalHost, command: Command, **__: object) -> str:
        lines.append(str(command))
        return f"{command.argv[-1]}-id\n"

    monkeypatch.setattr(LocalHost, "run", ran)
    monkeypatch.setattr(LocalHost, "try_run", ran)
    monkeypatch.setattr(LocalHost, "write", lambda _, path, text, **__: lines.append(f"{path.name}: {text}"))
    return lines


def named(place: Place, name: str) -> Fault:
    (own,) = (one for one in faults.faults_of(place) if one.name == name)
    return own


def test_answers_are_slow_by_every_web_service_being_halted_and_let_run_at_the_end(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    containers = (container("app", "web"), container("api", "web"), container("worker", "worker"))
    assert "slow-answers" not in names(place(monkeypatch, *containers)), "nobody would see it without an edge"
    slow = named(place(monkeypatch, *containers, container("edge", "edge")), "slow-answers")
    assert (slow.alert, slow.service, slow.limit) == ("AnswersSlow", "edge", 300)
    slow.inject()
    began = done[-1]
    assert "--detach" in began
    assert began.endswith(" 300 1.5 1.0 app-1-id api-1-id"), "it ends by itself, whatever becomes of this machine"
    slow.revert()
    assert [one for one in done if one.startswith("docker stop")] == ["docker stop shop-local-monitoring-slow"] * 2
    assert done[-1].endswith(" 0 1.5 1.0 app-1-id api-1-id"), "they run even if whoever halted them was killed"
    assert slow.by_hand == "docker stop shop-local-monitoring-slow; docker restart app-1 api-1"


@pytest.mark.parametrize("seconds", [3.0, 0.0])
@pytest.mark.parametrize("ended", [None, SystemExit()])
def test_whatever_is_halted_runs_at_the_end(
    monkeypatch: pytest.MonkeyPatch, seconds: float, ended: BaseException | None
) -> None:
    clock, sent = iter([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]), list[tuple[int, int]]()

    def slept(_: float) -> None:
        if ended:
            raise ended

    there = iter([[7, 8], *([[8, 9]] * 9)])  # one ends, and one starts
    monkeypatch.setattr(halt, "members", lambda _: next(there))
    monkeypatch.setattr("os.kill", lambda *one: sent.append(one))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", slept)
    with suppress(SystemExit):
        halt.halt(seconds, 1.5, 1.0, ["id"])
    assert {process for process, _ in sent} == {8}
    assert sent[-1] == (8, signal.SIGCONT)
    assert ((8, signal.SIGSTOP) in sent) == (seconds > 0)


def test_one_address_that_refuses_is_added_and_the_others_stay(
    monkeypatch: pytest.MonkeyPatch, done: list[str]
) -> None:
    own = place(monkeypatch)
    own = replace(own, stack=replace(own.stack, urls="json://people", heartbeat="http://waits"))
    refused = named(own, "fail-address")
    assert (refused.alert, refused.limit) == ("NotificationsFail", 300)
    refused.inject()
    written, recreated, sent = done
    assert 'NOTIFY_URLS="json://people json://127.0.0.1:9/"' in written
    assert 'HEARTBEAT_URL="http://waits"' in written
    assert recreated.endswith(" up --detach --no-deps receiver")
    assert "amtool" in sent, "nobody notices before something is sent"
    refused.revert()
    assert 'NOTIFY_URLS="json://people"' in done[-2]
    assert done[-1] == recreated


def test_a_process_is_killed_so_that_the_engine_does_not_take_it_for_a_wish() -> None:
    command = inject.kill("77", "programs:1")
    assert command.argv[-1] == "import os; os.kill(77, 9)"
    assert {"--pid=host", "--cap-drop=ALL", "--cap-add=KILL", "--network=none"} <= set(command.argv)


def sent(taken: bool = True, status: str = "firing", **labels: str) -> alerts.Notification:
    one = alerts.Alert(labels.get("alertname", "ServiceDown"), labels.get("service", "app"))
    return alerts.Notification(STAMP.format(1), (one,), taken, status == "resolved")


@pytest.mark.parametrize(
    ("notification", "counts"),
    [
        (sent(), True),
        (sent(taken=False), False),
        (sent(status="resolved"), False),
        (sent(service="other"), False),
        (sent(alertname="ServiceUnhealthy"), False),
    ],
)
def test_only_a_notification_that_somebody_has_taken_counts(notification: alerts.Notification, counts: bool) -> None:
    assert verify.names(notification, fault()) is counts


def test_the_receiver_writes_down_what_is_read_again(capsys: pytest.CaptureFixture[str]) -> None:
    labels = [one["labels"] for one in group()["alerts"]]
    receiver.note(labels, "firing", taken=True)
    receiver.note([receiver.NOBODY], "resolved", taken=False)
    printed = capsys.readouterr().out.splitlines()
    text = "\n".join(f"{STAMP.format(number)} {line}" for number, line in enumerate([*printed, "Traceback"], 1))
    first, second = alerts.read(text, "")
    assert (first.alerts, first.taken) == ((alerts.Alert("ServiceDown", "app", "critical"),), True)
    assert (second.alerts[0].name, second.resolved, second.taken) == (faults.NOBODY, True, False)
    assert list(alerts.read(text, STAMP.format(1))) == [second], "what was there before is not new"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[alerts.Notification]:
    """The receiver's log; nobody waits for anything."""
    log = list[alerts.Notification]()
    monkeypatch.setattr(alerts, "last_line", lambda *_: "")
    monkeypatch.setattr(alerts, "sent", lambda *_: tuple(log))
    monkeypatch.setattr(alerts, "firing", lambda *_: frozenset())
    monkeypatch.setattr(verify, "recover", lambda _: None)
    monkeypatch.setitem(faults.LIMITS, "critical", 0)
    return log


def test_a_fault_is_timed_and_reverted(monkeypatch: pytest.MonkeyPatch, quick: list[alerts.Notification]) -> None:
    done = list[str]()
    own = fault(lambda: quick.append(sent()), lambda: done.append("revert"))
    timing = verify.tried(place(monkeypatch), own)
    assert timing.seconds is not None
    assert done == ["revert"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OpsError("docker stop failed")])
def test_a_fault_is_reverted_after_ctrl_c_and_where_injecting_it_failed(
    monkeypatch: pytest.MonkeyPatch, quick: list[alerts.Notification], error: BaseException
) -> None:
    done = list[object]()

    def act() -> None:
        done.append("inject")
        raise error

    own = fault(act, lambda: done.append(signal.getsignal(signal.SIGINT)))
    if isinstance(error, OpsError):
        timing = verify.tried(place(monkeypatch), own)
        assert (timing.result, timing.evidence) == ("UNKNOWN", "not injected: docker stop failed")
    else:
        with pytest.raises(KeyboardInterrupt):
            verify.tried(place(monkeypatch), own)
    assert done == ["inject", signal.SIG_IGN], "a second Ctrl-C does not cut it off"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def test_one_that_never_came_fails_and_is_reverted(
    monkeypatch: pytest.MonkeyPatch, quick: list[alerts.Notification]
) -> None:
    done = list[str]()
    quick.append(sent(taken=False))
    timing = verify.tried(place(monkeypatch), fault(revert=lambda: done.append("revert")))
    assert (timing.result, timing.evidence, done) == ("FAIL", "nothing within 0 s", ["revert"])


def test_what_was_not_reverted_is_reported_with_what_to_type(
    monkeypatch: pytest.MonkeyPatch, quick: list[alerts.Notification]
) -> None:
    def broken() -> None:
        raise OpsError("the engine is gone")

    with pytest.raises(OpsError) as raised:
        verify.tried(place(monkeypatch), fault(revert=broken))
    assert raised.value.slug == "fault-not-reverted"
    assert "docker start app-1" in raised.value.then


def timing(seconds: float | None, severity: str = "critical", limit: float = 45, why: str = "") -> verify.Timing:
    return verify.Timing("stop-app", "h1", "ServiceDown", severity, limit, seconds, why)


@pytest.mark.parametrize(
    ("timings", "closes"),
    [
        ([timing(20)], False),
        ([timing(31)], True),  # p95
        ([timing(10)] * 19 + [timing(31)], False),
        ([timing(10)] * 19 + [timing(46)], True),
        ([timing(299, "warning", 300)], False),
        ([timing(301, "warning", 300)], True),
        ([timing(None)], True),
        ([timing(None, why="fires already")], True),
    ],
)
def test_a_fault_that_is_late_or_never_came_closes_the_gate(timings: list[verify.Timing], closes: bool) -> None:
    if not closes:
        return verify.show(timings, "staging", json=True)
    with pytest.raises(GateClosed):
        verify.show(timings, "staging", json=True)
    return None


@pytest.mark.parametrize("env", ["prod", "production"])
def test_prod_is_refused_by_its_name(env: str) -> None:
    settings = samples.settings().model_copy(update={"env": env})
    with pytest.raises(Refused) as raised:
        verify.verify(Environment(settings, LocalHost(), ()))
    assert raised.value.slug == "not-in-prod"


def test_nothing_is_injected_where_monitoring_is_not_well() -> None:
    with pytest.raises(GateClosed, match="targets are up is UNKNOWN"):
        verify.require_well([Check("targets are up", "UNKNOWN"), Check("rules are evaluated", "PASS")])


def test_a_name_that_is_no_fault_is_refused() -> None:
    with pytest.raises(Refused, match="did you mean stop-app"):
        verify.require_there(["stop-ap"], ["stop-app", "stop-edge"])


def test_old_metrics_look_as_the_host_writes_them() -> None:
    text = inject.ending_certificate("shop-staging")
    assert '\nops_certificate_not_after_timestamp_seconds{app="shop-staging"} ' in text
    assert 'ops_backup_last_success_timestamp_seconds{app="shop-staging"} ' in inject.stale_backup("shop-staging")
