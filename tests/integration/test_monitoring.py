"""Monitoring on the real engine: who is notified of a stopped service, and that a deploy notifies nobody."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from urllib.parse import quote
from uuid import uuid4

import pytest

from deploy.config.settings import Settings
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from deploy.monitoring import grafana, images, panels
from tests.support import samples
from tests.support.listener import Listener, listening
from tests.support.site import ROOT, Site, docker, free_port, make_tiny

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
    site = make_tiny(tmp_path_factory.mktemp("watched"))
    site.name_images()
    ports = {"OPS_MONITOR__PROMETHEUS_PORT": str(free_port()), "OPS_MONITOR__ALERTMANAGER_PORT": str(free_port())}
    site.extra.update(ports, OPS_NOTIFY__ON="[]")
    own = bases.prepare(ROOT, "debian", ["postgres", "redis"], LocalHost())
    site.replace("docker/compose.yml", "\nvolumes:\n", DATA.format(**own, password=uuid4().hex) + "\nvolumes:\n")
    site.commit("with data")
    site.write(".env.local", f"NOTIFY_URLS={people.url}\nHEARTBEAT_URL={people.url.replace('json', 'http')}/alive\n")
    (site.root / ".env.local").chmod(0o600)
    site.inv("deploy")
    yield site
    site.inv("monitor.down")
    volumes = docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={site.app}-local-monitoring")
    docker("volume", "rm", *volumes.split())
    site.sweep()


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


def test_a_deploy_tells_nobody_and_a_stopped_service_is_in_somebodys_hand(
    site: Site, people: Listener, record_property: Callable[[str, object], None]
) -> None:
    checks = site.inv("monitor.check", "--json", code=3).document
    assert {check["result"] for check in checks[:-1]} == {"UNKNOWN"}, "nothing runs yet"
    with visitors(site):
        checks = site.inv("monitor.up", "--json").document
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
    assert wait_until(lambda: site.inv("monitor.check", code=None).code == 0, 15), "the check sees it all again"
