"""Monitoring on the real engine: who is notified of a stopped service, and that a deploy notifies nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from deploy.config.settings import Settings
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.monitoring import images
from tests.support import samples
from tests.support.listener import Listener, listening
from tests.support.site import ROOT, Site, docker, free_port, make_tiny

RULES = sorted(str(path.relative_to(ROOT / "monitoring")) for path in (ROOT / "monitoring/tests").glob("*.yml"))


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
    ports = {"OPS_MONITOR__PROMETHEUS_PORT": str(free_port()), "OPS_MONITOR__ALERTMANAGER_PORT": str(free_port())}
    site.extra.update(ports, OPS_NOTIFY__ON="[]")
    site.write(".env.local", f"NOTIFY_URLS={people.url}\nHEARTBEAT_URL={people.url.replace('json', 'http')}/alive\n")
    (site.root / ".env.local").chmod(0o600)
    site.inv("deploy")
    yield site
    site.inv("monitor.down")
    volumes = docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={site.app}-local-monitoring")
    docker("volume", "rm", *volumes.split())
    site.sweep()


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
    checks = site.inv("monitor.up", "--json").document
    assert {check["result"] for check in checks} == {"PASS"}, checks
    assert people.beats, "a sign of life has left the host"
    words = ("service=other", "--duration=1h", "--comment=a test", "--json")
    (silence,) = site.inv("monitor.silence", *words).document["silences"]
    assert (silence["matchers"], silence["comment"]) == (["service=other"], "a test")
    assert site.inv("monitor.silence", f"--expire={silence['id']}", "--json").document["silences"] == []
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
    over = people.first("app does not run", 1, resolved=True)
    causes = [one.title.partition(": ")[2] for one in people.messages if one.at <= over.at]
    assert causes.count("app does not run") == 1, "notified once"
    record_property("report", f"stopped -> notified: {timing['seconds']} s; all messages: {causes}")
    assert site.get("/")[0] == 200, "the fault is reverted"
    assert wait_until(lambda: site.inv("monitor.check", code=None).code == 0, 15), "the check sees it all again"
