"""Tell people of alerts, at the addresses that deploys use: Alertmanager posts here, and Apprise sends.

The addresses hold tokens: they come in the variable NOTIFY_URLS and are printed nowhere. While Watchdog stays away,
nobody evaluates rules or sends alerts, and this program says so by itself; while it comes, a sign of life goes to
HEARTBEAT_URL.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

PORT, COLLECTOR = 9102, "http://collector:9101"
PATIENCE = 50.0  # seconds without a sign of life; Alertmanager gives them for 40 more when Prometheus is gone
WITHIN = 15.0  # seconds that the services may take
NOBODY = {"alertname": "NobodyWatches"}  # Prometheus or Alertmanager is away: no rule says so
PLAYBOOK = "inv incident.playbook "
RUNBOOK = f"{PLAYBOOK}nobody-watches"
SHOWN = ("alertname", "service", "severity")
KINDS = {"critical": "failure", "warning": "warning"}
Send = Callable[[str, str, str], bool]


def context(service: str) -> dict[str, Any]:
    """Ask the collector what there is to say of a service; nothing where it does not answer."""
    with suppress(OSError, ValueError), urlopen(f"{COLLECTOR}/context?service={quote(service)}", timeout=4) as answer:
        return dict(json.load(answer))
    return {}


@dataclass(frozen=True)
class Links:
    """Where people find Grafana and the playbooks; by name alone where the settings have no address."""

    env: str
    grafana: str = ""
    playbooks: str = ""

    def runbook(self, command: str) -> str:
        """Add the page to the command that shows it. Pure."""
        name = command.removeprefix(PLAYBOOK).partition(" ")[0]
        return f"{command}, {self.playbooks.rstrip('/')}/{name}.md" if self.playbooks and name else command

    def dashboard(self, panel: str) -> str:
        """Say where a panel is seen, which is written `dashboard: title`. Pure."""
        place = f"{self.grafana.rstrip('/')}/d/{panel.partition(':')[0]}"
        return f"{panel}, {place if self.grafana else f'inv monitor.page --env={self.env}'}" if panel else ""


def message(
    group: Mapping[str, Any], name: str, host: str, facts: Mapping[str, Any], links: Links
) -> tuple[str, str, str]:
    """Write what people read of a group of alerts: title, text, kind as Apprise calls it. Pure."""
    alerts = [one for one in group["alerts"] if one["status"] == "firing"] or group["alerts"]
    resolved = group["status"] == "resolved"
    summaries = list(dict.fromkeys(one["annotations"].get("summary", one["labels"]["alertname"]) for one in alerts))
    worst = "critical" if any(one["labels"].get("severity") == "critical" for one in alerts) else "warning"
    title = f"{name}: {'RESOLVED: ' if resolved else ''}{summaries[0]}"
    rows = [] if resolved else [row for one in alerts for row in describe(one, links)]
    rows += [("service", group["commonLabels"].get("service", "")), ("host", host)]
    rows += [(key, facts.get(key, "")) for key in ("release", "last deploy")]
    rows += [] if resolved else [("last lines", "\n  ".join(["", *facts.get("lines", ())]))]
    rows += [("since", alerts[0].get("startsAt", "")[:19].replace("T", " "))]
    text = "\n".join(f"{key}: {value}" for key, value in rows if value.strip())
    return title, text, "success" if resolved else KINDS[worst]


def describe(alert: Mapping[str, Any], links: Links) -> list[tuple[str, str]]:
    """List what an alert says for itself. Pure."""
    words = alert["annotations"]
    rows = {"what": "summary", "meaning": "meaning", "next": "next"}
    own = [(row, words.get(name, "")) for row, name in rows.items()]
    runbook, dashboard = (words.get(name, "") for name in ("runbook", "dashboard"))
    return [*own, ("runbook", links.runbook(runbook)), ("dashboard", links.dashboard(dashboard))]


def sender(urls: list[str], app: str) -> Send:
    """Return what sends a message to every address; true once one has taken it, or there is none."""
    from apprise import Apprise, AppriseAsset, NotifyFormat

    services = Apprise(asset=AppriseAsset(app_id=app))
    usable = [services.add(url) for url in urls]
    FAILED.unusable = usable.count(False)

    def send(title: str, text: str, kind: str) -> bool:
        results = services.notify(text, title=title, notify_type=kind, body_format=NotifyFormat.TEXT, timeout=WITHIN)
        taken = [bool(result) for result in results] if services else []
        FAILED.count += taken.count(False)
        FAILED.nobody = bool(urls) and not any(taken)
        return not FAILED.nobody

    return send


class Failures:
    """What was not taken: notifications, by each address; heartbeats; and addresses that Apprise cannot use."""

    count, unusable, heartbeats = 0, 0, 0
    nobody = False  # has taken the last one


class Heartbeat:
    """The sign of life that leaves the host, for whoever says that it is gone; withheld while nobody takes messages."""

    def __init__(self, url: str) -> None:
        self.url, self.last = url, 0.0

    def beat(self) -> None:
        """Send it, where an address is set; count it where that fails."""
        if not self.url or FAILED.nobody:
            return
        try:
            with urlopen(self.url, timeout=WITHIN):
                self.last = time.time()
        except (OSError, ValueError, HTTPException):
            FAILED.heartbeats += 1


class Life:
    """When Watchdog came last, and whether people know that it stays away."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.missed = clock, False
        self.last_sign = clock()

    def come(self) -> None:
        """Note a sign of life."""
        self.last_sign = self.clock()

    def change(self) -> str:
        """Say what people must know now; empty while nothing has changed."""
        away = self.clock() - self.last_sign > PATIENCE
        changed, self.missed = away != self.missed, away
        if not changed:
            return ""
        return "nobody watches: Prometheus or Alertmanager is away" if away else "RESOLVED: somebody watches again"


FAILED, LIFE = Failures(), Life()


def guard(send: Send, name: str, host: str, links: Links) -> None:
    """Say when nobody watches any more; never ends."""
    while True:
        time.sleep(5)
        speak(send, name, host, links)


def speak(send: Send, name: str, host: str, links: Links) -> None:
    """Send what changed; what nobody took has not been sent, and is new the next time."""
    if words := LIFE.change():
        then = f"inv monitor.check --env={links.env}; inv monitor.up --env={links.env}"
        text = f"host: {host}\nnext: {then}\nrunbook: {links.runbook(f'{RUNBOOK} --env={links.env}')}"
        taken = send(f"{name}: {words}", text, "failure" if LIFE.missed else "success")
        note([NOBODY], "firing" if LIFE.missed else "resolved", taken=taken)
        if not taken:
            LIFE.missed = not LIFE.missed


def note(labels: list[dict[str, str]], status: str, *, taken: bool) -> None:
    """Write down in this container's log what was sent, for `inv monitor.verify`."""
    sys.stdout.write(json.dumps({"notified": labels, "status": status, "taken": taken}) + "\n")
    sys.stdout.flush()


class Answer(BaseHTTPRequestHandler):
    """Takes what Alertmanager posts; counts the notifications that failed and the addresses that cannot work."""

    send_message: Send
    heartbeat: Heartbeat
    links: Links
    name, host = "", ""

    def do_POST(self) -> None:  # the library chose the name
        """Take alerts; 502 when nobody took the message, and Alertmanager tries again."""
        posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        LIFE.come()
        if self.path == "/watchdog":
            self.send(200, "")
            return self.heartbeat.beat()
        service = posted["commonLabels"].get("service", "")
        taken = type(self).send_message(*message(posted, self.name, self.host, context(service), self.links))
        firing = [one["labels"] for one in posted["alerts"] if one["status"] == posted["status"]]
        note([{key: one[key] for key in SHOWN if key in one} for one in firing], posted["status"], taken=taken)
        return self.send(200 if taken else 502, "")

    def do_GET(self) -> None:  # the library chose the name
        """Say how many notifications failed, and how many addresses are unusable."""
        counted = f"# TYPE ops_notifications_failed_total counter\nops_notifications_failed_total {FAILED.count}\n"
        unusable = f"# TYPE ops_notify_urls_unusable gauge\nops_notify_urls_unusable {FAILED.unusable}\n"
        failed = f"# TYPE ops_heartbeats_failed_total counter\nops_heartbeats_failed_total {FAILED.heartbeats}\n"
        last = f"ops_heartbeat_timestamp_seconds {self.heartbeat.last:.0f}\n"
        self.send(200, counted + unusable + failed + "# TYPE ops_heartbeat_timestamp_seconds gauge\n" + last)

    def send(self, status: int, text: str) -> None:
        """Send an answer."""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing of each message."""


if __name__ == "__main__":
    name, host = os.environ["NAME"], os.environ["HOST"]
    links = Links(os.environ["ENV"], os.environ.get("GRAFANA_URL", ""), os.environ.get("PLAYBOOKS_URL", ""))
    send = sender(os.environ.get("NOTIFY_URLS", "").split(), name)
    Answer.send_message, Answer.name, Answer.host, Answer.links = staticmethod(send), name, host, links
    Answer.heartbeat = Heartbeat(os.environ.get("HEARTBEAT_URL", ""))
    threading.Thread(target=guard, args=(send, name, host, links), daemon=True).start()
    ThreadingHTTPServer(("", PORT), Answer).serve_forever()
