"""What the monitoring stack of one host is made of, from the release that serves there. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.core.model import Release, ReleasedService
from deploy.monitoring import grafana, panels
from deploy.monitoring.images import FOLDER, OWN, Images
from deploy.site.run import Run

CONFIG, PRIVATE, FILE = "monitoring/config", "monitoring", "monitoring/compose.yml"
SOCKET = "/var/run/docker.sock"
KINDS = {5432: "postgres", 6379: "redis"}
TASKS = ("python", "-m", "monitoring.programs.tasks")
ALWAYS = ("services", "host", "self")


@dataclass(frozen=True)
class Target:
    """An address that is scraped, or asked, and the labels that its series have."""

    address: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Job:
    """A job of Prometheus; where another exporter is `asked` about its targets, that one's address."""

    name: str
    targets: tuple[Target, ...]
    path: str = "/metrics"
    asked: str = ""


PULLED = {  # of programs that are not on every host
    name: Job(name, (Target(f"{name}:{port}", {}),))
    for name, port in (("grafana", 3000), ("loki", 3100), ("alloy", 12345))
}


@dataclass(frozen=True)
class Exporter:
    """An exporter of the app's services, in a container on their networks; `secret` is a file's text."""

    name: str
    image: str
    port: int
    service: str
    networks: tuple[str, ...]
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    secret: str = ""
    broker: str = ""


@dataclass(frozen=True)
class Stack:
    """The monitoring stack of one host."""

    settings: Settings
    host: str
    exporters: tuple[Exporter, ...]
    backups: bool
    urls: str = ""
    certificates: bool = False
    heartbeat: str = ""
    engine_root: str = "/var/lib/docker"

    @property
    def project(self) -> str:
        """What Compose calls it."""
        return project_of(self.settings)

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of Prometheus."""
        own = [
            ("collector", 9101),
            ("receiver", 9102),
            ("node-exporter", 9100),
            ("prometheus", 9090),
            ("alertmanager", 9093),
        ]
        jobs = [Job(name, (Target(f"{name}:{port}", {}),)) for name, port in own]
        for kind in ("postgres", "redis", "nginx"):
            exporters = [one for one in self.exporters if one.image == f"{kind}-exporter"]
            targets = tuple(Target(f"{one.name}:{one.port}", {"service": one.service}) for one in exporters)
            jobs += [Job(kind, targets)] if targets else []
        brokers = [one for one in self.exporters if one.image == OWN]
        watched = [(f"{one.name}:{one.port}", {"service": one.service, "broker": one.broker}) for one in brokers]
        jobs += [Job("tasks", tuple(Target(*one) for one in watched))] if watched else []
        for one in self.exporters:
            if one.image == "blackbox-exporter":
                jobs += list(self.probes(one))
        return tuple(jobs)

    @property
    def job_names(self) -> frozenset[str]:
        """What the jobs are called."""
        return frozenset(job.name for job in self.jobs)

    @property
    def watched(self) -> frozenset[str]:
        """What panels may need: the jobs, and the files of rules."""
        return self.job_names | {*self.rules}

    def probes(self, blackbox: Exporter) -> Iterator[Job]:
        """Yield what the blackbox exporter is asked: the edge, and the public address where the settings have one."""
        asked = f"{blackbox.name}:{blackbox.port}"
        yield Job("blackbox", (Target(asked, {}),))
        if blackbox.service:
            place = Target(f"http://{blackbox.service}:8080/edge-health", {"service": blackbox.service})
            yield Job("edge", (place,), "/probe", asked)
        if self.settings.monitor.probe:
            yield Job("public", (Target(self.settings.monitor.probe, {}),), "/probe", asked)

    @property
    def rules(self) -> tuple[str, ...]:
        """The files of rules that have something to watch here."""
        return (
            *ALWAYS,
            *sorted(self.job_names & {"postgres", "redis", "tasks", "edge", "public"}),
            *(["slo"] if "edge" in self.job_names else []),
            *(["backups"] if self.backups else []),
            *(["certificates"] if self.certificates else []),
        )

    @property
    def networks(self) -> tuple[str, ...]:
        """The app's networks that exporters join."""
        return tuple(sorted({network for one in self.exporters for network in one.networks}))


def project_of(settings: Settings) -> str:
    """Return what Compose calls the stack of an environment."""
    return f"{settings.name}-monitoring"


def stack_of(run: Run, urls: str, heartbeat: str = "") -> Stack:
    """Decide what watches a release on one host."""
    document = yaml.load_rendered(run.bundle.files["shared.yml"])
    env, release = secrets.rendered(run.bundle.env), run.bundle.release
    data = [one for service in release.of("data") for one in exporter_of(service, document, env)]
    brokers = tuple(task_exporters(release, data))
    edges = tuple(edge_exporters(release.of("edge"), document)) or public_exporter(run.settings)
    renewed = bool(release.of("certificates")) and run.settings.tls.by == "acme"
    return Stack(
        run.settings, run.host.name, (*data, *brokers, *edges), bool(release.of("backup")), urls, renewed, heartbeat
    )


def exporter_of(service: ReleasedService, document: Mapping[str, Any], env: Mapping[str, str]) -> Iterator[Exporter]:
    """Yield the exporter of a data service.

    None where port and image do not say of what kind it is, and for one that no network reaches.
    """
    spec = document["services"][service.name]
    kind = KINDS.get(service.deploy.port or 0) or next((one for one in KINDS.values() if one in service.image), "")
    port = service.deploy.port or next((port for port, one in KINDS.items() if one == kind), 0)
    networks = networks_of(spec, document)
    given = {**(env if spec.get("env_file") else {}), **(spec.get("environment") or {})}
    if kind and networks:
        make = {"postgres": postgres, "redis": redis}[kind]
        yield make(service.name, port, networks, given)


def postgres(service: str, port: int, networks: tuple[str, ...], given: Mapping[str, Any]) -> Exporter:
    """Return the exporter of a PostgreSQL, which it asks as the account that its container was made with."""
    user = str(given.get("POSTGRES_USER", "postgres"))
    place = f"{service}:{port}/{given.get('POSTGRES_DB', user)}?sslmode=disable"
    environment = {"DATA_SOURCE_URI": place, "DATA_SOURCE_USER": user}
    secret = secrets.render({"DATA_SOURCE_PASS": str(given.get("POSTGRES_PASSWORD", ""))})
    return Exporter(f"exporter-{service}", "postgres-exporter", 9187, service, networks, (), environment, secret)


def redis(service: str, port: int, networks: tuple[str, ...], _: Mapping[str, Any]) -> Exporter:
    """Return the exporter of a Redis; it gives up before Prometheus does, and says that Redis is down."""
    environment = {"REDIS_ADDR": f"redis://{service}:{port}", "REDIS_EXPORTER_CONNECTION_TIMEOUT": "2s"}
    return Exporter(f"exporter-{service}", "redis-exporter", 9121, service, networks, (), environment)


def task_exporters(release: Release, data: Iterable[Exporter]) -> Iterator[Exporter]:
    """Yield what watches the tasks in each Redis, where the release has workers; the first one names the series."""
    workers = [one.name for one in release.of("worker")]
    scheduled = next((one.deploy.sends for one in release.of("scheduler") if one.deploy.sends), "")
    for one in data:
        if one.image == "redis-exporter" and workers:
            given = {"REDIS": one.environment["REDIS_ADDR"].removeprefix("redis://"), "SCHEDULED": scheduled}
            name = f"tasks-{one.service}"
            yield Exporter(name, OWN, 9103, workers[0], one.networks, TASKS, given, broker=one.service)


def edge_exporters(edges: Iterable[ReleasedService], document: Mapping[str, Any]) -> Iterator[Exporter]:
    """Yield the exporters of an edge: what nginx says of its connections, and what visitors get."""
    for edge in edges:
        networks = networks_of(document["services"][edge.name], document)
        status = (f"--nginx.scrape-uri=http://{edge.name}:9180/connections",)
        yield Exporter(f"exporter-{edge.name}", "nginx-exporter", 9113, edge.name, networks, status)
        yield blackbox(edge.name, networks)


def public_exporter(settings: Settings) -> tuple[Exporter, ...]:
    """Return what asks the public address from a host without an edge."""
    return (blackbox("", ()),) if settings.monitor.probe else ()


def blackbox(service: str, networks: tuple[str, ...]) -> Exporter:
    """Return the exporter that asks as visitors do."""
    command = ("--config.file=/etc/monitoring/blackbox.yml",)
    return Exporter("blackbox", "blackbox-exporter", 9115, service, networks, command)


def networks_of(spec: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the networks of a service as the engine does; none for one on the host's own network."""
    own = () if "network_mode" in spec else spec.get("networks") or ("default",)
    return tuple(document["networks"][name]["name"] for name in own)


def files(stack: Stack, images: Images) -> dict[str, str]:
    """Render every file of the stack that anybody may read, by its path in the state folder."""
    rules = (*stack.rules, *(["logs"] if "loki" in images.references else []))
    config = {
        f"{CONFIG}/{name}": (FOLDER / name).read_text()
        for name in ("alertmanager.yml", "blackbox.yml", *(f"rules/{rule}.yml" for rule in rules))
    }
    pulled = tuple(PULLED[name] for name in images.references if name in PULLED)
    if "grafana" in images.references:
        shown = grafana.files(panels.dashboards(stack.watched), stack.settings.name)
        config |= {f"{CONFIG}/{path}": text for path, text in shown.items()}
    if "loki" in images.references:
        config[f"{CONFIG}/loki.yml"] = render("loki.yml.j2", keep_days=stack.settings.monitor.keep_days)
        config[f"{CONFIG}/config.alloy"] = (FOLDER / "config.alloy").read_text()
    config[f"{CONFIG}/prometheus.yml"] = render(
        "prometheus.yml.j2", app=stack.settings.app, env=stack.settings.env, host=stack.host, rules=rules,
        jobs=(*stack.jobs, *pulled),
    )  # fmt: skip
    made_of = hashlib.sha256(json.dumps([config, private(stack)], sort_keys=True).encode()).hexdigest()[:12]
    return {**config, FILE: compose_file(stack, images, made_of)}


def private(stack: Stack) -> dict[str, str]:
    """Render the files of the stack that hold secrets, by their paths in the state folder."""
    own = {f"{PRIVATE}/{one.name}.env": one.secret for one in stack.exporters if one.secret}
    addresses = {"NOTIFY_URLS": stack.urls, "HEARTBEAT_URL": stack.heartbeat}
    return {f"{PRIVATE}/receiver.env": secrets.render(addresses), **own}


def compose_file(stack: Stack, images: Images, made_of: str) -> str:
    """Render the Compose project; a label says what its files are made of, so that a change recreates containers."""
    settings = stack.settings
    return render(
        "compose.yml.j2", project=stack.project, name=settings.name, env=settings.env, host=stack.host, made_of=made_of,
        images=images.references, entrypoints=images.entrypoints, keep_days=settings.monitor.keep_days,
        prometheus_port=settings.monitor.prometheus_port, alertmanager_port=settings.monitor.alertmanager_port,
        grafana_port=settings.monitor.grafana_port, grafana_url=settings.monitor.grafana_url,
        playbooks_url=settings.monitor.playbooks_url, loki_port=settings.monitor.loki_port,
        engine_root=stack.engine_root, folder=settings.state_dir / CONFIG,
        private=settings.state_dir / PRIVATE, state=settings.state_dir, socket=SOCKET,
        exporters=stack.exporters, networks=stack.networks,
    )  # fmt: skip


def render(template: str, **values: object) -> str:
    """Render one of the stack's templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(FOLDER)
    own = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701  # no HTML
    return own.get_template(template).render(**values)


def expected_jobs(stack: Stack) -> dict[str, int]:
    """Say how many targets each job should have."""
    return {job.name: len(job.targets) for job in stack.jobs}


def services_to_watch(run: Run) -> set[str]:
    """Name the services that should run all the time on a host, as the collector should have them."""
    return {one.name for one in run.bundle.release.of("web", "worker", "scheduler", "data", "wal", "edge")}
