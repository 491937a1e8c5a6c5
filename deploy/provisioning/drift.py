"""What differs on servers from what `inv hosts.provision` sets up; nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from deploy.config.environment import Environment
from deploy.core.errors import OpsError
from deploy.hosts.host import Host
from deploy.provisioning import bare, playbook
from deploy.provisioning.playbook import Event
from deploy.site.checks import Check

NEXT = "inv hosts.provision"
FOLDER, DONE = Path("/etc/bookreader-ops"), "provisioned"  # the playbook makes the folder first, the file last
LINES = 12  # of what differs, for one task


def examine(at: Environment, names: Collection[str]) -> list[Check]:
    """Compare the servers that the playbook has set up with it, by its check mode; UNKNOWN where it does not run."""
    left, unread = at.gather(lambda host: host.listdir(FOLDER), [host for host in at.hosts if host.name in names])
    checks = [unknown(name, error.what) for name, error in unread.items()]
    checks += [unfinished(name) for name, files in left.items() if files and DONE not in files]
    ours = [host for host in at.hosts if DONE in left.get(host.name, [])]
    try:
        return checks + compare(at, ours) if ours else checks
    except OpsError as error:
        return checks + [unknown(host.name, error.what) for host in ours]


def compare(at: Environment, hosts: Sequence[Host]) -> list[Check]:
    """Run the playbook in check mode on these hosts."""
    servers = at.each(lambda host: bare.observe(at.settings, host.name, bare.account(at.settings, host.name)), hosts)
    events = playbook.run(at.settings, [*servers.values()], at.here, check=True)
    return [judge(host.name, events) for host in hosts]


def judge(name: str, events: Sequence[Event]) -> Check:
    """Judge one server by what the tasks would have done: UNKNOWN unless all could look. Pure."""
    own = [event for event in events if event.host == name]
    broken = [event for event in own if event.outcome in ("failed", "unreachable")]
    if broken or not own:
        return unknown(name, "; ".join(f"{event.task}: {event.message}" for event in broken) or "no task ran")
    changed = [event for event in own if event.outcome == "changed"]
    if changed:
        return Check(asked(name), "FAIL", "\n".join(map(described, changed)), NEXT)
    return Check(asked(name), "PASS", f"{len(own)} tasks would change nothing")


def described(event: Event) -> str:
    """Say what one task would change: its name, and the first lines that differ. Pure."""
    lines = [line for line in event.diff.splitlines() if line.startswith(("+", "-")) and line[:3] not in ("+++", "---")]
    return "\n".join([event.task, *(f"  {line}" for line in lines[:LINES])])


def asked(name: str) -> str:
    """Name the check of a server."""
    return f"{name}: provisioning"


def unknown(name: str, why: str) -> Check:
    """Say that a server could not be compared."""
    return Check(asked(name), "UNKNOWN", why, NEXT)


def unfinished(name: str) -> Check:
    """Say that a server was begun and is not done."""
    return Check(asked(name), "FAIL", "inv hosts.provision did not come to its end there", NEXT)
