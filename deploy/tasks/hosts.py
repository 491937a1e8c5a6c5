"""`inv hosts.*`: the machines of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command, split_names

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command(positional=["host"], help={"host": "hosts, with commas between them, `gateway` among them (default: all)"})
def pin(at: Environment, host: str, yes: bool = False) -> None:
    """Pin the SSH key that each host shows, once a person has compared it there: inv hosts.pin [NAME,...]."""
    from deploy.config import pin

    pin.pin(at.settings, split_names(host), yes=yes)


@command(
    positional=["host"],
    help={
        "host": "hosts, with commas between them (default: all)",
        "login": "whom a new host lets in, until ssh.user is made there (default: root)",
    },
)
def provision(at: Environment, host: str, login: str = "root", yes: bool = False, json: bool = False) -> None:
    """Set servers up from a bare Debian: engine, account, sshd, firewall, updates; a second run changes nothing."""
    from deploy.provisioning import provision

    provision.show(provision.provision(at, split_names(host), login=login, yes=yes), at.settings.env, json=json)


@command()
def check(at: Environment, json: bool = False) -> None:
    """Check every host: what it has, what it lacks, what differs from how it was provisioned."""
    from deploy import doctor
    from deploy.site import checks

    checks.show(doctor.examine_hosts(at), at.settings.env, json=json)


@command(
    help={
        "from_": "folder of a Terraform module, or file of its output (default: stdin)",
        "remove": "drop hosts that the output lacks",
    }
)
def import_hosts(at: Environment, from_: str = "", remove: bool = False, json: bool = False) -> None:
    """Write the hosts that Terraform made into the settings; comments, and host keys of what stayed, are kept."""
    from deploy.provisioning import imported

    output = imported.parse(imported.read(from_, at.here))
    imported.show(at.settings, imported.write(at.settings, output, remove=remove), json=json)
