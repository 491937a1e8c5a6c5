"""What every command that changes an environment does first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploy.config.environment import Environment
from deploy.site.facts import naming_what_serves
from deploy.state import locks
from deploy.state.journal import begin_run


@contextmanager
def locked(at: Environment, command: str) -> Iterator[None]:
    """Hold the lock on all hosts; let an error that passes say what serves. Raises Locked while another has it."""
    begin_run()
    with naming_what_serves(at), locks.held(at.hosts, at.settings.state_dir, command):
        yield
