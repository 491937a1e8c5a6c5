"""`inv hosts.*`: the machines of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deploy.tasks.door import door

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@door(iterable=["host"], help={"host": "inv hosts.pin NAME ..., `gateway` among them (default: all)"})
def pin(at: Environment, host: Any, yes: bool = False) -> None:
    """Write down the key that each host shows, once a person has compared it at the host: inv hosts.pin [NAME ...]."""
    from deploy.config import pin

    pin.pin(at.settings, host, yes=yes)


@door()
def check(at: Environment, json: bool = False) -> None:
    """Connect to every host at once, and say what each has and what it lacks."""
    from deploy import doctor

    doctor.show(doctor.examine_hosts(at), at.settings.env, json=json)
