"""A run of Ansible's playbook: each event as it comes, shown, and judged at the end."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.config.settings import ROOT, Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.shell import Command, Secret, command
from deploy.hosts.local import LocalHost
from deploy.hosts.ssh.keys import PASSPHRASE, is_encrypted, passphrase, public_keys
from deploy.provisioning import inventory
from deploy.provisioning.bare import Bare

FOLDER = ROOT / "infra/ansible"
FAILED = ("failed", "unreachable")
LAST = "Write down that all of it was done"  # the playbook's last task
ASKPASS = f"""#!/bin/sh
printf '%s\\n' "${PASSPHRASE}"
"""


@dataclass(frozen=True)
class Event:
    """A task that begins, or what one came to on a host: ok, changed, failed or unreachable."""

    kind: str
    task: str
    role: str = ""
    host: str = ""
    outcome: str = ""
    message: str = ""
    diff: str = ""


def run(settings: Settings, servers: Sequence[Bare], here: LocalHost, *, check: bool = False) -> list[Event]:
    """Run the playbook on these servers, shown as it goes; return what tasks came to. With `check` nothing is changed.

    Raises OpsError where Ansible itself could not run. A host that failed is an event like any other.
    """
    require_ssh()
    events: list[Event] = []
    with prepared(settings, servers) as folder:
        try:
            with here.stream(playbook(folder, settings, check=check)) as process:
                events += shown(map(parse, process.stdout or ()))
        except CommandFailed as error:
            if not any(event.outcome in FAILED for event in events):
                what = f"Ansible could not run:\n{error.output}"
                raise OpsError(what, then="inv doctor", slug="provisioning-failed") from None
    require_end(events, [server.name for server in servers])
    return events


def require_end(events: Sequence[Event], names: Sequence[str]) -> None:
    """Raise OpsError unless every server has a task that failed, or ran the last one. Pure."""
    ended = {event.host for event in events if event.outcome in FAILED or event.task == LAST}
    if silent := [name for name in names if name not in ended]:
        what = f"Ansible did not come to its end on {', '.join(silent)}, and did not say why"
        raise OpsError(what, where=", ".join(silent), then="inv hosts.provision", slug="provisioning-failed")


def require_ssh() -> None:
    """Refuse a machine without OpenSSH's client, which Ansible connects by."""
    if not shutil.which("ssh"):
        what = "`ssh` is not installed, and Ansible connects by it"
        raise Refused(what, then="apt-get install openssh-client", slug="program-missing")


@contextmanager
def prepared(settings: Settings, servers: Sequence[Bare]) -> Iterator[Path]:
    """Write what Ansible reads into a folder that only we can enter, for as long as it runs."""
    keys = public_keys(settings.ssh.key_file)
    # the path of a socket has 104 characters at most, and $TMPDIR takes half of them on some machines
    with TemporaryDirectory(prefix="ops-", dir="/tmp") as name:  # of its own name, mode 0700
        folder = Path(name)
        (folder / "known_hosts").write_text(inventory.known_hosts(settings))
        (folder / "ssh_config").write_text(inventory.ssh_config(settings, folder))
        (folder / "hosts.json").write_text(json.dumps(inventory.inventory(settings, servers, keys, folder)))
        (folder / "askpass").write_text(ASKPASS)
        (folder / "askpass").chmod(0o700)
        yield folder


def playbook(folder: Path, settings: Settings, *, check: bool) -> Command:
    """Return the command that runs the playbook; of the person's own settings of Ansible it reads none."""
    unset = [f"--unset={name}" for name in sorted(os.environ) if name.startswith("ANSIBLE_")]
    own = {
        "ANSIBLE_CONFIG": str(FOLDER / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_FORKS": str(settings.ssh.parallel),
        "LC_ALL": "C.UTF-8",
    }
    key = settings.ssh.key_file
    if key and is_encrypted(key):
        own |= {"SSH_ASKPASS": str(folder / "askpass"), "SSH_ASKPASS_REQUIRE": "force"}
        own[PASSPHRASE] = Secret(passphrase(key.expanduser()))
    words = ["--check", "--diff"] if check else []
    ansible = [sys.executable, "-m", "ansible", "playbook", "--inventory", str(folder / "hosts.json")]
    return command("env", *unset, *ansible, *words, str(FOLDER / "provision.yml"), **own)


def parse(line: bytes) -> Event | None:
    """Read one line of the callback; None for a line of anything else."""
    try:
        return Event(**json.loads(line))
    except (ValueError, TypeError):
        console.say(f"    {line.decode(errors='replace').rstrip()}")
        return None


def shown(events: Iterable[Event | None]) -> Iterator[Event]:
    """Show each role as a step, with a line for each task that changed something; yield what tasks came to."""
    role = ""
    with ExitStack() as stack:
        step: console.Step | None = None
        for event in filter(None, events):
            if event.kind == "task":
                if step is None or event.role not in ("", role):
                    stack.close()
                    role = event.role
                    step = stack.enter_context(console.step(role or "reach the hosts"))
                step.word(event.task)
                continue
            if step and event.outcome != "ok":
                step.line(f"{event.host}: {event.outcome}: {event.task}")
            yield event
