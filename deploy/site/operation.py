"""What changes an environment and no release: who did it and its outcome are in the journal, for `inv history`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError
from deploy.hosts.host import Host
from deploy.state import locks
from deploy.state.store import state_of


@contextmanager
def recorded(at: Environment, words: str, serving: Mapping[str, str | None]) -> Iterator[None]:
    """Write down on each host that something begins, on the release that serves there, and its outcome.

    One that is cut off has no outcome there. A journal that cannot be written is a warning, and no reason against it.
    """

    def write(host: Host, **facts: object) -> None:
        try:
            state_of(at, host).note(operation=words, **facts)
        except OSError as full:
            what = f"the journal of {host.name} cannot be written: {full.strerror or full}"
            console.warn(f"{what}; inv history lacks this `{words}`, or its outcome")

    def end(outcome: str) -> None:
        with suppress(OpsError):  # a host or the lock was lost, which is what is reported
            at.each(lambda host: write(host, state=outcome))

    at.each(lambda host: write(host, state="begin", release=serving.get(host.name) or "", who=locks.who()))
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        end("interrupted")
        raise
    except Exception:
        end("failed")
        raise
    end("done")
