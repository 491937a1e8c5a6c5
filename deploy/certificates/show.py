"""Show what the edges serve."""

from __future__ import annotations

from collections.abc import Sequence

from deploy.certificates.issue import Served
from deploy.certificates.model import when
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import acting


def served(results: Sequence[Served], settings: Settings, *, json: bool) -> None:
    """Show the certificate of every edge, and that one for tries is one."""
    if json:
        console.document([result.document for result in results])
        return
    for result in results:
        own = result.certificate
        what = f"serves it after {result.seconds:g} s" if result.changed else "serves it already, and it is not due"
        console.say(f"{result.host} {what}: {', '.join(own.names)}, until {when(own.not_after)}", "green")
    if any(result.certificate.staging for result in results):
        words = "it is one for tries, which no browser trusts; for a real one"
        console.warn(acting(f'{words} tls.server = "production", then inv tls.issue, inv deploy', settings.env))
