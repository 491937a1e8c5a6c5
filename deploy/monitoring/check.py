"""Check that monitoring sees what it should: targets, rules, services, and somebody to tell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from deploy.config.settings import Settings
from deploy.core.poll import poll
from deploy.hosts.host import Host
from deploy.monitoring import heartbeat, panels, stack
from deploy.site import notify
from deploy.site.checks import Check
from deploy.site.run import Run

START, UNSET = "inv monitor.up", heartbeat.UNSET


def check(settings: Settings, runs: Sequence[Run]) -> list[Check]:
    """Check every host's stack and dashboards, and that signs of life leave it; what cannot be seen is UNKNOWN."""
    addresses = heartbeat.addresses(settings, [run.host.name for run in runs])
    beats = [beating(run, addresses[run.host.name], prefix) for run, prefix in prefixed(runs)]
    shown = [panels_of(run, f"{prefix}dashboards show data") for run, prefix in prefixed(runs)]
    *stacks, notified = watching(settings, runs)
    return [*stacks, *shown, *beats, notified]


def watching(settings: Settings, runs: Sequence[Run]) -> list[Check]:
    """Check all that a notification needs, from the targets to somebody who gets it."""
    urls = notify.addresses(settings)
    evidence = f"{len(urls)} address(es); inv notify.test tries them"
    nobody = Check("somebody is notified", "FAIL", f"{notify.KEY} {UNSET}", f"add it to the secrets file, then {START}")
    checks = [one for run, prefix in prefixed(runs) for one in on_host(run, prefix)]
    return [*checks, Check("somebody is notified", "PASS", evidence) if urls else nobody]


def prefixed(runs: Sequence[Run]) -> list[tuple[Run, str]]:
    """Put the host's name in front of what is checked, where there are several. Pure."""
    return [(run, f"{run.host.name}: " if len(runs) > 1 else "") for run in runs]


def settled(settings: Settings, runs: Sequence[Run], within: float) -> list[Check]:
    """Check again and again until nothing is left to wait for, `within` seconds."""
    checks = check(settings, runs)
    for _ in poll(within, pause=1):
        if all(one.result == "PASS" or UNSET in one.evidence for one in checks):
            break
        checks = check(settings, runs)
    return checks


def beating(run: Run, address: str, prefix: str) -> Check:
    """Check that signs of life leave one host."""
    query = quote("time() - ops_heartbeat_timestamp_seconds")  # by the host's own clock
    age = ask(run.host, run.settings.monitor.prometheus_port, f"/api/v1/query?query={query}") if address else None
    return heartbeat.judge(prefix, address, age)


def on_host(run: Run, prefix: str) -> list[Check]:
    """Check the stack of one host."""
    own, port = stack.stack_of(run, ""), run.settings.monitor.prometheus_port
    targets = ask(run.host, port, "/api/v1/targets?state=active")
    rules = ask(run.host, port, "/api/v1/rules")
    managers = ask(run.host, port, "/api/v1/alertmanagers")
    watched = ask(run.host, port, f"/api/v1/query?query={quote('ops_service_expected')}")
    return [
        judge_targets(prefix, stack.expected_jobs(own), targets),
        judge_rules(prefix, own.rules, rules),
        judge_managers(prefix, managers),
        judge_services(prefix, stack.services_to_watch(run), watched),
    ]


def panels_of(run: Run, asked: str) -> Check:
    """Judge whether every panel of a host's dashboards has data, and finite data only."""
    shown = panels.panels_of(panels.dashboards(stack.stack_of(run, "").watched))
    path = f"/api/v1/query?query={quote(panels.question(shown), safe='')}"
    return panels.judge(asked, shown, ask(run.host, run.settings.monitor.prometheus_port, path), START)


def ask(host: Host, port: int, path: str) -> Any:
    """Ask Prometheus; None when it does not answer, or not as it should."""
    status, body = host.get(port, path, timeout=5)
    with suppress(ValueError, LookupError, TypeError):
        return json.loads(body)["data"] if status == 200 else None
    return None


def silent(asked: str) -> Check:
    """Return what a check is while Prometheus does not answer."""
    return Check(asked, "UNKNOWN", "Prometheus does not answer", START)


def judge_targets(prefix: str, expected: dict[str, int], answer: Any) -> Check:
    """Judge whether every target is up. Pure."""
    asked = f"{prefix}targets are up"
    if answer is None:
        return silent(asked)
    targets = [(one["labels"]["job"], one["health"], one.get("lastError", "")) for one in answer["activeTargets"]]
    missing = [job for job, number in expected.items() if [name for name, _, _ in targets].count(job) < number]
    down = [f"{job}: {error}" for job, health, error in targets if health == "down"]
    waiting = [job for job, health, _ in targets if health not in ("up", "down")]
    absent = "" if targets and not missing + waiting else f"not scraped: {', '.join(missing + waiting) or 'anything'}"
    return judged(asked, down, "docker logs of that exporter; " + START, absent, f"{len(targets)} of {len(targets)}")


def judge_rules(prefix: str, expected: Sequence[str], answer: Any) -> Check:
    """Judge whether every rule was evaluated. Pure."""
    asked = f"{prefix}rules are evaluated"
    if answer is None:
        return silent(asked)
    groups = {group["name"]: group["rules"] for group in answer["groups"]}
    rules = [rule for own in groups.values() for rule in own]
    broken = [f"{rule['name']}: {rule.get('lastError', '')}" for rule in rules if rule["health"] == "err"]
    waiting = [rule["name"] for rule in rules if rule["health"] not in ("ok", "err")]
    missing = [name for name in expected if name not in groups]
    absent = "" if rules and not missing + waiting else f"not evaluated: {', '.join(missing + waiting) or 'anything'}"
    return judged(asked, broken, "fix monitoring/rules, then " + START, absent, f"{len(rules)} rules")


def judged(asked: str, failing: Sequence[str], fix: str, absent: str, seen: str) -> Check:
    """FAIL for what fails, UNKNOWN where something is absent, else PASS with what was seen. Pure."""
    if failing:
        return Check(asked, "FAIL", "; ".join(failing), fix)
    return Check(asked, "UNKNOWN", absent, START) if absent else Check(asked, "PASS", seen)


def judge_managers(prefix: str, answer: Any) -> Check:
    """Judge whether Prometheus knows Alertmanager. Pure."""
    asked = f"{prefix}alerts are sent on"
    if answer is None:
        return silent(asked)
    active = answer["activeAlertmanagers"]
    return Check(asked, "PASS", "to Alertmanager") if active else Check(asked, "FAIL", "Alertmanager is away", START)


def judge_services(prefix: str, expected: set[str], answer: Any) -> Check:
    """Judge whether every service of the release is watched. Pure."""
    asked = f"{prefix}services are watched"
    if answer is None or not answer["result"]:
        return silent(asked) if answer is None else Check(asked, "UNKNOWN", "the collector says nothing", START)
    watched = {one["metric"]["service"] for one in answer["result"]}
    missing = sorted(expected - watched)
    if missing:
        return Check(asked, "FAIL", f"not watched: {', '.join(missing)}", START)
    return Check(asked, "PASS", f"{len(expected)} of {len(expected)}: {', '.join(sorted(expected))}")
