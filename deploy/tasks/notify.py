"""`inv notify.*`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, door


@door(name="test", help=ENV)
def probe(c: Any, env: str = "local") -> None:
    """Send a test notification to every address in NOTIFY_URLS."""
    from deploy import notify, settings
    from deploy.hosts.local import LocalHost

    notify.probe(settings.load(env), LocalHost())
