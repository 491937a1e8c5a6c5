"""Notifications through Apprise: what a deploy came to, told wherever a team listens.

Apprise runs in a process of its own. It waits for its threads when a process ends, so a service that hangs would hold
up a deploy that is done. The addresses hold tokens: they go to that process by its stdin, and nothing that it prints
is shown but the names of services.
"""

from __future__ import annotations

import json
import os
import sys

from deploy.config import secrets
from deploy.config.settings import ROOT, Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting
from deploy.core.shell import query
from deploy.hosts.local import LocalHost
from deploy.site.event import Event

KEY = "NOTIFY_URLS"
DELIVER = ROOT / "docker" / "notify" / "deliver.py"  # what a host runs in an image of its own
START = 5.0  # seconds for Apprise to be read
OUTCOMES = {  # what Apprise calls it, and what people read
    "in service": ("success", "{command} done, {release} serves"),
    "unchanged": ("info", "nothing to do, {release} already serves"),
    "failed": ("failure", "{command} FAILED; {serves} serves"),
    "interrupted": ("failure", "{command} INTERRUPTED; {serves} serves"),
}


def send(settings: Settings, host: LocalHost, event: Event) -> None:
    """Send an outcome to CI's summary and, where `notify.on` has it, to people; warn when that fails, never raise."""
    title, facts = headline(settings, event), details(settings, event)
    console.summary(title, facts)
    kind = "warning" if event.warning else OUTCOMES[event.outcome][0]
    try:
        trouble = post(settings, host, title, facts, kind) if is_subscribed(settings, event) else ""
    except (OpsError, OSError, ValueError) as error:
        trouble = error.what if isinstance(error, OpsError) else type(error).__name__
    if trouble:
        console.warn(acting(f"not everybody was notified: {trouble}; inv notify.test tries again", settings.env))


def is_subscribed(settings: Settings, event: Event) -> bool:
    """Tell whether the settings ask for a notification of this."""
    kinds = {event.command: event.outcome == "in service", "failure": event.bad}
    return any(true and kind in settings.notify.on for kind, true in kinds.items())


def probe(settings: Settings, host: LocalHost) -> None:
    """Send a notification that says it is a test; raise when it has no address, or one did not take it."""
    if not addresses(settings):
        raise Refused(
            f"{KEY} is not set, so nobody is notified",
            where=str(settings.secrets_file),
            then=f"add {KEY} to it",
            slug="notify-not-set",
        )
    trouble = post(
        settings, host, f"{settings.name}: a test", {"this": "came from inv notify.test; nothing happened"}, "info"
    )
    if trouble:
        raise OpsError(
            trouble,
            where=KEY,
            then=f"fix {KEY} in {settings.secrets_name}, then inv notify.test",
            slug="notify-failed",
        )
    console.say(f"sent to {len(addresses(settings))} service(s)")


def addresses(settings: Settings) -> list[str]:
    """Return the addresses of those who want to know."""
    return secrets.own(settings, KEY).split()


def post(settings: Settings, host: LocalHost, title: str, facts: dict[str, str], kind: str) -> str:
    """Send a message to every address at once, within `notify.within` seconds; return what went wrong."""
    urls, within = addresses(settings), settings.notify.within
    if not urls:
        return ""
    body = "\n".join(f"{name}: {text}" for name, text in facts.items())
    text = json.dumps({**order(settings, title, kind), "body": body})
    try:
        done = host.try_run(query(sys.executable, "-P", str(DELIVER)), stdin=text, timeout=within + START)
    except OpsError:
        return f"no answer within {within + START:.0f} s"
    return "; ".join(json.loads(done.stdout)) if done.returncode == 0 else f"Apprise ended with {done.returncode}"


def order(settings: Settings, title: str, kind: str) -> dict[str, object]:
    """Say to whom a message goes, and as what: what docker/notify/deliver.py reads. It holds tokens."""
    urls, within = addresses(settings), settings.notify.within
    return {"urls": urls, "sender": settings.app, "title": title, "kind": kind, "within": within}


def headline(settings: Settings, event: Event) -> str:
    """Say the outcome of a command in one line."""
    happened = OUTCOMES[event.outcome][1].format(
        command=event.command, release=event.release, serves=event.serves or "nothing"
    )
    return f"{settings.name}: {happened}" + (f", but {event.warning}" if event.warning else "")


def details(settings: Settings, event: Event) -> dict[str, str]:
    """List what a person wants to know, most urgent first.

    Of an error the first line, since the rest may hold anything.
    """
    then = event.then or (f"inv rollback --env={settings.env} goes back" if event.outcome == "in service" else "")
    facts = {
        "error": event.error.strip().partition("\n")[0].rstrip(":"),
        "warning": event.warning,
        "serves": event.serves,
        "next": then,
        "env": settings.env,
        "release": event.release,
        "commit": event.commit,
        "served before": event.before,
        "by": event.who,
        "took": f"{event.seconds:.1f} s" if event.seconds else "",
        "log": log(),
    }
    return {name: text for name, text in facts.items() if text}


def log() -> str:
    """Return the address of this run's log in GitHub Actions."""
    parts = [os.environ.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*parts) if all(parts) else ""
