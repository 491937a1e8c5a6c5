"""Check what every edge serves, and that it will be renewed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deploy.certificates import model, schedule
from deploy.certificates.store import Store, reachable_stores
from deploy.config.environment import Environment
from deploy.core.errors import OpsError
from deploy.site import timers
from deploy.site.checks import Check

ISSUE, RENEW = "inv tls.issue", "inv tls.renew"
SILENT = timedelta(hours=2 * schedule.EVERY)  # with the timer's spread; after that a run is missing


def check(at: Environment) -> list[Check]:
    """Check the certificate of every edge; what cannot be seen is UNKNOWN, that of a host which is not reached too."""
    stores, unreachable = reachable_stores(at)
    several = len(stores) + len(unreachable) > 1
    statuses = {store.run.host.name: status_of(store) for store in stores}
    prefixes = {name: f"{name}: " if several else "" for name in statuses}
    checks = [
        one
        for store, (name, status) in zip(stores, statuses.items(), strict=True)
        for one in of_edge(store, status, prefixes[name])
    ]
    if at.settings.issuer:
        seen = {name: status for name, status in statuses.items() if isinstance(status, dict) and status["version"]}
        certificates = {name: model.leaf(str(status["chain"])) for name, status in seen.items()}
        checks += one_for_all(certificates, at.settings.issuer, datetime.now(UTC))
    asked = "the edge serves the certificate of its volume"
    lost = [Check(f"{name}: {asked}", "UNKNOWN", error.what, "inv status") for name, error in unreachable.items()]
    return [*checks, *lost]


def status_of(store: Store) -> dict[str, Any] | OpsError:
    """Ask what the volume of an edge has; return why it cannot be seen where it cannot."""
    try:
        return store.status()
    except OpsError as error:
        return error


def one_for_all(own: Mapping[str, model.Certificate], issuer: str, now: datetime) -> list[Check]:
    """Check that the other edges have the certificate of the one that obtains it, which they fetch in a while. Pure."""
    asked = f"every edge has the certificate of {issuer}"
    if issuer not in own:
        return [Check(asked, "UNKNOWN", f"what {issuer} has was not seen", "inv status")]
    others = [name for name, certificate in own.items() if certificate.serial != own[issuer].serial]
    if not others:
        return [Check(asked, "PASS", f"serial {own[issuer].serial:x}: {', '.join(own)}")]
    evidence = f"{', '.join(others)} {'has' if len(others) == 1 else 'have'} another"
    if now - own[issuer].not_before < SILENT:
        return [Check(asked, "PASS", f"{evidence}; it is new, and is fetched within {schedule.EVERY} hours")]
    return [Check(asked, "FAIL", evidence, RENEW)]


def of_edge(store: Store, status: dict[str, Any] | OpsError, prefix: str) -> list[Check]:
    """Check one edge: what its volume has, what it serves, and its timer."""
    asked, now = f"{prefix}the edge serves the certificate of its volume", datetime.now(UTC)
    if isinstance(status, OpsError):
        return [Check(asked, "UNKNOWN", status.what, "inv status")]
    if not status["version"]:
        return [Check(asked, "FAIL", "there is none", "inv deploy, then inv tls.issue")]
    chain, names = str(status["chain"]), store.run.settings.tls_names
    certificate = model.leaf(chain)
    window = model.window_of(status["window"])
    checks = [presented(store, asked, certificate), *of_certificate(certificate, window, names, now, prefix)]
    checks += [of_files(chain, str(status["mode"]), now, prefix)]
    return checks + (renewal(store, now, prefix) if store.run.settings.tls.by == "acme" else [])


def presented(store: Store, asked: str, certificate: model.Certificate) -> Check:
    """Check by a handshake that the edge has read what its volume has."""
    try:
        serial = store.presented().serial
    except OpsError as error:
        return Check(asked, "UNKNOWN", f"no handshake: {error.what}", "inv status, then inv deploy")
    if serial != certificate.serial:
        return Check(asked, "FAIL", f"it serves serial {serial:x}, the volume has {certificate.serial:x}", ISSUE)
    return Check(asked, "PASS", f"serial {serial:x}")


def of_certificate(
    certificate: model.Certificate, window: model.Window | None, names: tuple[str, ...], now: datetime, prefix: str
) -> list[Check]:  # fmt: skip
    """Check a certificate by itself: each name, who signed it, its time. Pure."""
    checks = [
        Check(f"{prefix}it is for {name}", "PASS", "among its names")
        if certificate.covers(name)
        else Check(f"{prefix}it is for {name}", "FAIL", f"its names: {', '.join(certificate.names)}", ISSUE)
        for name in names
    ]
    return [*checks, trusted(certificate, prefix), in_time(certificate, window, now, prefix)]


def trusted(certificate: model.Certificate, prefix: str) -> Check:
    """Check who signed it. Pure."""
    asked = f"{prefix}it is one that browsers may trust"
    if certificate.self_signed:
        return Check(asked, "FAIL", "it is self-signed: a temporary one, until there is another", ISSUE)
    if certificate.staging:
        then = f'tls.server = "production", then {ISSUE}'
        return Check(asked, "FAIL", f"it is for tries: {certificate.issuer}", then)
    return Check(asked, "PASS", f"signed by {certificate.issuer}")


def in_time(certificate: model.Certificate, window: model.Window | None, now: datetime, prefix: str) -> Check:
    """Check when it expires, and whether a renewal that is due was missed. Pure."""
    asked, until = f"{prefix}it is valid, and renewed in time", f"until {model.when(certificate.not_after)}"
    if not certificate.not_before <= now < certificate.not_after:
        span = f"from {model.when(certificate.not_before)} {until}; it is {model.when(now)}"
        return Check(asked, "FAIL", f"valid {span}", RENEW)
    start = model.when(window.start if window else model.renewal_time(certificate))
    asks = " as the server asks" if window else ""
    if model.overdue(certificate, window, now):
        return Check(asked, "FAIL", f"{until}, and a renewal is due since {start}{asks}", RENEW)
    return Check(
        asked, "PASS", f"{until}; due {'since' if model.due(certificate, window, now) else 'from'} {start}{asks}"
    )


def of_files(chain: str, mode: str, now: datetime, prefix: str) -> Check:
    """Check the chain, of which any certificate may expire first, and that nobody else may read the key. Pure."""
    asked = f"{prefix}its chain is complete, and its key is the edge's alone"
    wrong = [*model.unlinked(model.read(chain), now), *([] if mode == "0o600" else [f"the key has mode {mode}"])]
    return (
        Check(asked, "FAIL", "; ".join(wrong), ISSUE)
        if wrong
        else Check(asked, "PASS", "each valid, and signed by the next")
    )


def renewal(store: Store, now: datetime, prefix: str) -> list[Check]:
    """Check that the host has a timer which is fired, and what its last run came to."""
    host, folder = store.run.host, store.run.settings.state_dir
    asked = f"{prefix}the host renews it by itself"
    if not schedule.is_installed(store):
        return [Check(asked, "FAIL", "there is no timer", ISSUE)]
    if not timers.is_armed(host, schedule.timer(store.run.settings)):
        return [Check(asked, "FAIL", "there is a timer, and nothing fires it", ISSUE)]
    metrics = host.read(folder / Path("metrics") / f"{schedule.METRICS}.prom") or ""
    return [last_run(metrics, schedule.installed_at(store), now, asked)]


def last_run(metrics: str, installed: datetime, now: datetime, asked: str) -> Check:
    """Check what the last renewal came to, by what it wrote down. Pure."""
    found = {name: float(value) for name, value in re.findall(r"^ops_certificate_(\w+)\{.*\} (\S+)$", metrics, re.M)}
    if "renewal_attempt_timestamp_seconds" not in found:
        since = f"has not run since it was installed, at {model.when(installed)}"
        if now - installed > SILENT:
            return Check(asked, "FAIL", f"its timer {since}", ISSUE)
        return Check(asked, "PASS", f"by its timer, which {since}: within {schedule.EVERY} hours it should")
    ran = datetime.fromtimestamp(found["renewal_attempt_timestamp_seconds"], UTC)
    if code := int(found["renewal_exit_code"]):
        return Check(asked, "FAIL", f"the last run, at {model.when(ran)}, failed: exit {code}", RENEW)
    if now - ran > SILENT:
        return Check(asked, "FAIL", f"its timer has not run since {model.when(ran)}", ISSUE)
    return Check(asked, "PASS", f"by its timer, which ran at {model.when(ran)}")
