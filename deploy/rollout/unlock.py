"""Free a lock whose operator is gone."""

from __future__ import annotations

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Locked, OpsError, acting
from deploy.state import lock
from deploy.state.store import state_of


def unlock(at: Environment, *, yes: bool) -> str:
    """Say who holds the lock, where, since when and at which step; end a holder of whose operator nothing is heard.

    Raises Locked while the operator lives. A dead one never holds it: the kernel frees it then.
    """
    folder = at.settings.state_dir
    holders = at.each(lambda host: lock.holder(host, folder))
    held = {name: holder for name, holder in holders.items() if holder}
    if not held:
        return "nobody holds the lock"
    steps = at.each(lambda host: state_of(at, host).last_step())
    lines = (
        f"{name}: {one.words}, step {steps[name] or 'none'}, heard {one.silent:.0f} s ago" for name, one in held.items()
    )  # fmt: skip
    words = "\n".join(lines)
    if any(holder.silent < lock.LATE_SECONDS for holder in held.values()):
        then = "wait for it to end, or end that process where it runs; then inv resume or inv abort"
        raise Locked(words, where=", ".join(f"{name}: {folder / 'lock'}" for name in held), then=then)
    console.confirm(f"{words}. Ending it leaves its command interrupted.", yes=yes)
    hosts = [host for host in at.hosts if host.name in held]
    ended = at.each(lambda host: lock.end(host, folder, held[host.name]), hosts)
    if not all(ended.values()):
        kept = ", ".join(name for name, gone in ended.items() if not gone)
        raise OpsError(f"it could not be ended on {kept}", where=str(folder / "lock"), then="end its process there")
    return acting(f"{words}; it was ended. inv resume goes on, inv abort goes back", at.settings.env)
