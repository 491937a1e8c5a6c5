"""Monitoring on the real engine: who is notified of a stopped service, and that a deploy notifies nobody."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from deploy.monitoring import grafana, images, panels
from tests.support import samples
from tests.support.listener import Listener, listening
from tests.support.site import ROOT, Site, docker, free_port, make_tiny
from tests.support.watched import add_secrets, watchable

RULES = sorted(str(path.relative_to(ROOT / "monitoring")) for path in (ROOT / "monitoring/tests").glob("*.yml"))


# what the dashboards for data are about; nothing of the app uses it
DATA = """
  db:
    image: {postgres}
    command: ["docker-entrypoint.sh", "postgres", "-c", "fsync=off"]
    user: "999:999"
    environment: {{POSTGRES_USER: tiny, POSTGRES_PASSWORD: {password}, PGDATA: /data}}
    tmpfs: ["/tmp:mode=1777", "/data:uid=999", "/var/run/postgresql:uid=999,gid=999"]
    x-deploy: {{role: data, port: 5432, backup: none}}

  cache:
    image: {redis}
    command: ["redis-server", "--save", "", "--dir", "/tmp", "--protected-mode", "no"]
    x-deploy: {{role: data, port: 6379, backup: none}}
"""


@pytest.fixture(scope="module")
def image() -> str:
    """The image that has promtool and amtool."""
    return images.prepare(settings(), LocalHost()).references["prometheus"]


def settings() -> Settings:
    return samples.settings(build={"bases": "debian"})


@pytest.fixture(scope="module")
def people() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, people: Listener) -> Iterator[Site]:
    """A small site that is watched."""
    with watchable(make_tiny(tmp_path_factory.mktemp("watched"))) as site:
        site.name_images()
        own = bases.prepare(ROOT, "debian", ["postgres", "redis"], LocalHost())
        site.replace("docker/compose.yml", "\nvolumes:\n", DATA.format(**own, password=uuid4().hex) + "\nvolumes:\n")
        site.commit("with data")
        add_secrets(site, f"NOTIFY_URLS={people.url}", f"HEARTBEAT_URL={people.url.replace('json', 'http')}/alive")
        site.inv("deploy")
        yield site


@contextmanager
def visitors(site: Site) -> Iterator[None]:
    """Have somebody ask for the first page again and again."""
    gone = Event()

    def visit() -> None:
        while not gone.wait(0.1):
            site.get("/")

    thread = Thread(target=visit)
    thread.start()
    try:
        yield
    finally:
        gone.set()
        thread.join()


def instant(site: Site, query: str) -> float:
    """Ask the site's Prometheus for one number."""
    status, body = site.get(f"/api/v1/query?query={quote(query)}", int(site.extra["OPS_MONITOR__PROMETHEUS_PORT"]))
    assert status == 200, body
    (one,) = json.loads(body)["data"]["result"]
    return float(one["value"][1])


def assert_page(site: Site, every: int) -> None:
    """Assert that the page has a chart for each panel, and the deploy."""
    site.inv("monitor.page", f"--file={site.folder}/page.html", "--hours=1")
    text = (site.folder / "page.html").read_text()
    assert text.count("<figcaption>") == every
    assert "no data" not in text
    assert "the 15 minutes before it" in text, "nothing is older"
    assert len(re.findall(r'<path class="line c\d" d="M[\d.,]+', text)) >= every
    assert text.count('<path class="mark"') == every, "one deploy"


def tool(image: str, *words: str) -> str:
    """Run a tool of the image on the checkout's rules."""
    mount = f"--volume={ROOT}/monitoring:/monitoring:ro"
    return docker(
        "run", "--rm", "--network=none", mount, "--workdir=/monitoring", "--entrypoint", words[0], image, *words[1:]
    )


def test_rules_fire_and_keep_quiet(image: str) -> None:
    assert tool(image, "promtool", "test", "rules", *RULES).count("SUCCESS") == len(RULES)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        ("alertname=Watchdog severity=none", "watchdog"),
        ("alertname=ServiceDown severity=critical service=app", "people"),
        ("alertname=BackupOld severity=warning", "people"),
        ("alertname=Other", "people"),
    ],
)
def test_where_alerts_go(image: str, labels: str, receiver: str) -> None:
    routed = tool(image, "amtool", "config", "routes", "test", "--config.file=alertmanager.yml", *labels.split())
    assert routed.strip() == receiver


# of each rule of alertmanager.yml by its number: what fires, what is kept quiet by it, what is sent all the same
WITH_DB = ("DatabaseDown", "RedisDown", "ServiceUnhealthy", "EdgeUnreachable", "ExporterDown", "ReplicasMissing")
OF_DB, OTHERS = [f"{name} db" for name in WITH_DB], [f"{name} cache" for name in WITH_DB]
QUEUES = ["NoWorkers worker", "QueueStuck worker", "QueueBacklog worker"]
NO_QUEUES = ["TasksFail worker", "TasksNotWatched worker"]
SENT = ["NoWorkers worker", "QueueStuck other", "QueueBacklog other", *NO_QUEUES]  # none is of another's service
INHIBITIONS = [
    (0, "ServiceDown db", OF_DB, [*OTHERS, "OutOfMemory db", "DatabaseNotWatched db"]),
    (0, "RestartLoop db", OF_DB, [*OTHERS, "OutOfMemory db", "DatabaseNotWatched db"]),
    (1, "ServiceDown db", ["RestartLoop db"], ["RestartLoop cache"]),
    *(
        case
        for name in ("ServiceDown", "ServiceUnhealthy", "RestartLoop")
        for case in (
            (2, f"{name} worker worker", QUEUES, [*NO_QUEUES, "BeatStalled worker"]),
            (3, f"{name} beat scheduler", ["BeatStalled worker"], SENT),
        )
    ),
    (4, "RedisDown db", [*QUEUES, "BeatStalled worker", "TasksNotWatched worker"], ["TasksFail worker"]),
    (5, "NoWorkers worker", QUEUES[1:], ["QueueStuck other", "BeatStalled worker", "TasksFail worker"]),
]
NO_INHIBITIONS = [  # what has neither workers nor a scheduler keeps no task quiet
    (f"{name} backend web", [*SENT, "BeatStalled worker"]) for name in ("ServiceDown", "RestartLoop")
]


class Alertmanager:
    """The real one, with our configuration."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Ask its API; None where it does not answer well."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(method, f"/api/v2/{path}", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            return json.loads(text or "true") if answer.status == 200 else None
        except OSError:
            return None
        finally:
            connection.close()

    def post(self, alerts: list[str], seconds: int) -> None:
        """Have alerts fire from an hour ago on, for so long after now."""
        now = datetime.now(UTC)
        own = [
            dict(zip(("alertname", "service", "role"), alert.split(), strict=False)) | {"severity": "critical"}
            for alert in alerts
        ]
        times = {"startsAt": stamp(now - timedelta(hours=1)), "endsAt": stamp(now + timedelta(seconds=seconds))}
        assert self.ask("POST", "alerts", [{"labels": one, **times} for one in own])

    def inhibited(self) -> dict[str, str]:
        """Name the alerts that fire, and for each by which other it is kept quiet."""
        alerts = self.ask("GET", "alerts") or []
        names = {one["fingerprint"]: named(one["labels"]) for one in alerts}
        return {
            named(one["labels"]): " and ".join(names.get(other, other) for other in one["status"]["inhibitedBy"])
            for one in alerts
        }


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def named(labels: dict[str, str]) -> str:
    return " ".join(labels[key] for key in ("alertname", "service", "role") if key in labels)


@pytest.fixture(scope="module")
def alertmanager(image: str) -> Iterator[Alertmanager]:
    """An Alertmanager that notifies nobody, since it does not find the receiver."""
    own, mount = Alertmanager(free_port()), f"--volume={ROOT}/monitoring:/monitoring:ro"
    program = ("--entrypoint=prometheus-alertmanager", image, "--config.file=/monitoring/alertmanager.yml")
    words = ("--storage.path=/data", "--cluster.listen-address=")
    published = f"--publish=127.0.0.1:{own.port}:9093"
    container = docker("run", "--detach", "--rm", "--tmpfs=/data", published, mount, *program, *words).strip()
    try:
        assert wait_until(lambda: own.ask("GET", "status"), 20), docker("logs", container)
        yield own
    finally:
        docker("rm", "--force", container)


def kept_quiet(own: Alertmanager, source: str, quiet: list[str], sent: list[str]) -> dict[str, str]:
    """Return what is kept quiet, and by what, once the source fires; then end all of it."""
    alerts = [source, *quiet, *sent]
    own.post(alerts, 300)
    try:
        wait_until(lambda: all(own.inhibited().get(alert) for alert in quiet), 5)
        return own.inhibited()
    finally:
        own.post(alerts, -1)


@pytest.mark.parametrize(("number", "source", "quiet", "sent"), INHIBITIONS)
def test_an_alert_keeps_quiet_what_it_brings_about_and_nothing_else(
    alertmanager: Alertmanager, number: int, source: str, quiet: list[str], sent: list[str]
) -> None:
    found = kept_quiet(alertmanager, source, quiet, sent)
    assert found == {source: "", **dict.fromkeys(quiet, source), **dict.fromkeys(sent, "")}, f"rule {number}"


@pytest.mark.parametrize(("source", "sent"), NO_INHIBITIONS)
def test_what_has_no_workers_keeps_no_task_quiet(alertmanager: Alertmanager, source: str, sent: list[str]) -> None:
    own = "ServiceUnhealthy backend"  # once it is kept quiet, the source was taken into account
    assert kept_quiet(alertmanager, source, [own], sent) == {source: "", own: source, **dict.fromkeys(sent, "")}


def test_each_rule_that_keeps_alerts_quiet_has_its_cases() -> None:
    rules = yaml.load((ROOT / "monitoring/alertmanager.yml").read_text())["inhibit_rules"]
    assert {number for number, *_ in INHIBITIONS} == {*range(len(rules))}
    for number, rule in enumerate(rules):
        (targets,) = [one for one in rule["target_matchers"] if one.startswith("alertname")]
        quiet = {alert.split()[0] for own, _, alerts, _ in INHIBITIONS if own == number for alert in alerts}
        assert quiet == {*re.findall(r"[A-Z]\w+", targets)}, f"rule {number}"


def test_a_deploy_tells_nobody_and_a_stopped_service_is_in_somebodys_hand(
    site: Site, people: Listener, record_property: Callable[[str, object], None]
) -> None:
    checks = site.inv("monitor.check", "--json", code=3).document
    assert {check["result"] for check in checks[:-1]} == {"UNKNOWN"}, "nothing runs yet"
    with visitors(site):
        started = site.inv("monitor.up", "--json")
    assert "there is no Grafana, Loki or Alloy" in started.stderr
    checks = started.document
    assert {check["result"] for check in checks} == {"PASS"}, checks
    assert people.beats, "a sign of life has left the host"
    words = ("service=other", "--duration=1h", "--comment=a test", "--json")
    (silence,) = site.inv("monitor.silence", *words).document["silences"]
    assert (silence["matchers"], silence["comment"]) == (["service=other"], "a test")
    assert site.inv("monitor.silence", f"--expire={silence['id']}", "--json").document["silences"] == []
    (shown,) = [check["evidence"] for check in checks if check["asked"] == "dashboards show data"]
    needs = {panel.needs for panel in panels.panels_of(panels.every())}
    own = needs - {"tasks", "backups"}  # BookReader has these: tests/nights/test_tasks.py
    every = len(panels.panels_of(panels.dashboards(own)))
    assert shown == f"{every} of {every} panels", "every panel there is"
    assert instant(site, "sum(ops_edge_requests_total{class='2xx'})") > 0, "while it had traffic"
    assert instant(site, grafana.DEPLOYS) > 0, "deploys are marked"
    assert_page(site, every)
    gates = {one["gate"]: one for one in site.inv("validate", "--json", code=3).document["gates"]}
    assert (gates["dashboards show data"]["result"], gates["dashboards show data"]["evidence"]) == ("PASS", shown)
    assert gates["logs arrive"]["result"] == "PASS", gates["logs arrive"]
    assert gates["logs arrive"]["evidence"].startswith("4 of 4 containers, within "), gates["logs arrive"]
    site.replace("app/app.py", "says hello", "says good day")
    site.commit()
    site.inv("deploy")
    release = site.inv("history", "--json").document[0]["release"]
    # that the machine's own disk is nearly full may be sent, too
    assert [one for one in people.messages if "service: " in one.text] == [], "a deploy tells nobody"

    begun = time.monotonic()
    verified = site.inv("monitor.verify", "--only=stop-app", "--json").document
    (timing,) = verified["faults"]
    message = people.first("app does not run", 1)
    assert message.at - begun > timing["seconds"], "it was timed until somebody had taken it"
    assert f"service: app\nhost: localhost\nrelease: {release}\nlast deploy: deploy of {release}" in message.text
    assert "next: inv status --env=local; inv logs app --env=local" in message.text
    over = people.first("app does not run", 60, resolved=True)
    causes = [one.title.partition(": ")[2] for one in people.messages if one.at <= over.at]
    assert causes.count("app does not run") == 1, "notified once"
    record_property("report", f"stopped -> notified: {timing['seconds']} s; all messages: {causes}")
    assert site.get("/")[0] == 200, "the fault is reverted"
    assert wait_until(lambda: site.inv("monitor.check", code=None).code == 0, 60), "the check sees it all again"
