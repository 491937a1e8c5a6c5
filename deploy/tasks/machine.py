"""`inv doctor`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, door


@door(help={**ENV, **JSON})
def doctor(c: Any, env: str = "local", json: bool = False) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from deploy import doctor, settings
    from deploy.hosts.local import LocalHost

    doctor.show(doctor.examine(settings.load(env), LocalHost()), json=json)
