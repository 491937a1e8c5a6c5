"""Sites with the monitoring stack next to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.site import Site, docker, free_port

PORTS = ("PROMETHEUS", "ALERTMANAGER", "GRAFANA", "LOKI")


@contextmanager
def watchable(site: Site) -> Iterator[Site]:
    """Give a site ports of its own for the stack; at the end take this away, with its volumes, then the site."""
    ports = {f"OPS_MONITOR__{name}_PORT": str(free_port()) for name in PORTS}
    site.extra |= {**ports, "OPS_NOTIFY__ON": "[]"}
    try:
        yield site
    finally:
        site.inv("monitor.down", code=None)
        project = f"label=com.docker.compose.project={site.app}-local-monitoring"
        if volumes := docker("volume", "ls", "-q", "--filter", project).split():  # none where it never started
            docker("volume", "rm", "--force", *volumes)
        site.sweep()


def add_secrets(site: Site, *lines: str) -> None:
    """Add lines to the site's file of secrets."""
    file = site.root / ".env.local"
    before = file.read_text().rstrip() + "\n" if file.exists() else ""
    file.write_text(before + "\n".join([*lines, ""]))
    file.chmod(0o600)
