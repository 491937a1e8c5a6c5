"""Jobs that may run migrations which the toolkit does not manage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from deploy.core.model import Deploy

POSTGRESQL = 5432
ADVICE = "declare migrate or migrations in x-deploy; on_rollback: true only for a job that migrates nothing"


class Service(Protocol):
    """A service of the compose files, or of a release."""

    @property
    def name(self) -> str:
        """What the compose files call it."""

    @property
    def deploy(self) -> Deploy:
        """Its x-deploy block."""


def unmanaged_migrations(services: Iterable[Service]) -> str:
    """Name the jobs that may migrate a database where no service declares its migrations; empty without one. Pure.

    A job that also runs on a rollback migrates nothing.
    """
    blocks = {service.name: service.deploy for service in services}
    listed = any(block.migrate or block.migrations for block in blocks.values())
    data = [block for block in blocks.values() if block.role == "data"]
    database = any(block.backup == "dump" or (block.port, block.backup) == (POSTGRESQL, None) for block in data)
    jobs = [name for name, block in blocks.items() if block.run == "before_switch" and not block.on_rollback]
    return ", ".join(jobs) if database and not listed else ""
