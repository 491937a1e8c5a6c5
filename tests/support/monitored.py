"""What is watched in tests: a release with its monitoring, and what an engine and an Alertmanager say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.model import Deploy, ReleasedService
from deploy.hosts.local import LocalHost
from deploy.monitoring import images, stack
from deploy.site.run import Run
from deploy.state.store import Bundle
from tests.support import backed_up, samples

PROGRAMS = ("prometheus", "alertmanager", "node-exporter", "postgres-exporter", "redis-exporter", "nginx-exporter")
NAMES = dict.fromkeys((*PROGRAMS, "blackbox-exporter"), "ops-base/monitoring:1")
IMAGES = images.Images(
    {**NAMES, "programs": "ops-monitoring/programs:1"}, {**images.executables(NAMES), "programs": ""}
)
SECRETS = 'POSTGRES_PASSWORD="hunter2222"\n'
RULES = {
    path.stem: yaml.load(path.read_text())["groups"][0]["rules"] for path in (ROOT / "monitoring/rules").glob("*.yml")
}


def service(name: str, role: Any, image: str = "x", **more: Any) -> ReleasedService:
    return ReleasedService(name=name, image=image, deploy=Deploy(role=role, **more))


def run(*others: ReleasedService, **monitor: Any) -> Run:
    """The run of a release with a database, an edge and web services."""
    services = (service("postgres", "data", port=5432), service("backend", "web"), service("site", "job"), *others)
    release = samples.release("r1").model_copy(update={"services": services})
    settings = samples.settings(state=Path("/state"), monitor=monitor)
    shared = backed_up.rendered()["shared.yml"].replace('image: "postgres"', 'image: "postgres"\n    env_file: ["env"]')
    return Run(settings, LocalHost(), Bundle(release, {"shared.yml": shared}, SECRETS))


def rendered(*others: ReleasedService, **monitor: Any) -> dict[str, str]:
    return stack.files(stack.stack_of(run(*others, **monitor), "json://token@people"), IMAGES)


def project(*others: ReleasedService) -> dict[str, Any]:
    document = yaml.load(rendered(*others)[stack.FILE])
    assert isinstance(document, dict)
    return document


def container(name: str, role: str = "web", status: str = "running", health: str = "", **state: Any) -> dict[str, Any]:
    """One container as the engine shows it."""
    labels = {"bookreader-ops.service": name, "bookreader-ops.role": role}
    own = {"Status": status, "OOMKilled": False, "ExitCode": 0, "StartedAt": "2026", **state}
    own |= {"Health": {"Status": health}} if health else {}
    return {"Name": f"/{name}-1", "Config": {"Labels": labels}, "State": own, "RestartCount": 2}


def group(status: str = "firing") -> dict[str, Any]:
    words = {"summary": "app does not run", "meaning": "none runs", "next": "inv status --env=prod"}
    words |= {"runbook": "inv incident.playbook service-down --env=prod", "dashboard": "app: Containers that run"}
    labels = {"alertname": "ServiceDown", "service": "app", "severity": "critical"}
    alert = {"status": status, "labels": labels, "annotations": words, "startsAt": "2026-11-30T10:00:00.123Z"}
    return {"status": status, "commonLabels": {"service": "app"}, "alerts": [alert]}
