"""What must be true before anything is changed."""

from __future__ import annotations

from deploy.errors import Refused
from deploy.hosts.local import LocalHost
from deploy.model import Facts, Release, Schema
from deploy.settings import Settings

GIGABYTE = 1_000_000_000


def check(settings: Settings, host: LocalHost, facts: Facts) -> None:
    """Refuse, all reasons at once, on a host that cannot take a deploy."""
    reasons = [*disk(settings, host), *ports(settings, host, facts)]
    if reasons:
        raise Refused(
            "this host is not ready:\n    " + "\n    ".join(reasons),
            where=host.name,
            serves=facts.serving,
            then="mend that, then inv deploy",
        )


def disk(settings: Settings, host: LocalHost) -> list[str]:
    """Name the places where too little is free for a release."""
    free = host.free_bytes(settings.state_dir) / GIGABYTE
    wanted = settings.rollout.free_disk_gb
    return (
        [f"{settings.state_dir}: {free:.1f} GB free, {wanted:.1f} GB are wanted; docker system df shows what uses it"]
        if free < wanted
        else []
    )


def ports(settings: Settings, host: LocalHost, facts: Facts) -> list[str]:
    """Name the edge's ports that something else has taken."""
    if any(c.role == "edge" and c.state == "running" for c in facts.containers):
        return []
    wanted = {"port": (settings.edge.address, settings.edge.port), "probe_port": ("127.0.0.1", settings.edge.probe_port)}
    taken = [(key, port) for key, (address, port) in wanted.items() if not host.port_is_free(address, port)]
    return [f"port {port} is taken by another program; stop it, or set edge.{key} (OPS_EDGE__{key.upper()}=…)" for key, port in taken]


def schema_fits(target: Release, revision: str | None, schema: Schema | None, serving: str) -> None:
    """Refuse to go back to code that cannot work on the schema, or of which that is not known."""
    if not target.migrating:
        return
    if schema is None or revision is None:
        raise Refused(
            f"it is not known whether release {target.id} fits the database's schema",
            serves=serving,
            then="go forward with inv deploy; only Alembic's history can be judged",
        )
    if revision not in schema.serves:
        raise Refused(
            f"release {target.id} is of schema {revision}; the database is at {schema.revision}, on which only "
            f"{', '.join(schema.serves)} can work", where="the database", serves=serving,
            then="go forward: mend the code and inv deploy",
        )  # fmt: skip
