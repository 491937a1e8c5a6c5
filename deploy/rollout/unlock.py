"""Free a lock whose operator is gone."""

from __future__ import annotations

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Locked, OpsError, acting
from deploy.hosts.host import Host
from deploy.state import locks
from deploy.state.store import state_of


def unlock(at: Environment, *, yes: bool) -> str:
    """Say who holds which lock, where, since when and at which step.

    End the holders of a lock whose operators sent no heartbeat for a while. Raises Locked while all operators live.
    A dead operator's lock needs no command: the kernel frees it.
    """
    folder = at.settings.state_dir
    held = at.each(lambda host: locks.holders(host, folder))
    holders = [(host, one) for host in at.hosts for one in held[host.name]]
    if not holders:
        return "nobody holds a lock"
    alive = {one.lock for _, one in holders if one.silent < locks.LATE_SECONDS}
    silent = [(host, one) for host, one in holders if one.lock not in alive]
    steps = at.each(lambda host: state_of(at, host).last_step())
    words = "\n".join(holding(host, one, steps[host.name]) for host, one in silent or holders)
    if not silent:
        files = ", ".join(f"{host.name}: {folder / locks.LOCKS[one.lock].file}" for host, one in holders)
        then = "wait for it to end, or end that process where it runs; then inv resume or inv abort"
        raise Locked(words, where=files, then=then)
    console.confirm(f"{words}. Ending it leaves its command interrupted.", yes=yes)
    if kept := ", ".join(host.name for host, one in silent if not locks.end(host, folder, one)):
        raise OpsError(
            f"it could not be ended on {kept}", where=str(folder), then="end its process there", slug="lock-failed"
        )
    return acting(f"{words}; it was ended. inv resume goes on, inv abort goes back", at.settings.env)


def holding(host: Host, holder: locks.Holder, step: str) -> str:
    """Describe the holder of a lock, with the seconds since their last heartbeat and the journal's last step. Pure."""
    at_step = f", step {step or 'none'}" if holder.lock == "change" else ""
    return f"{host.name}: {holder.words}{at_step}, heard {holder.silent:.0f} s ago"
