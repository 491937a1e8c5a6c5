"""Deliver one message to every address through Apprise, from its stdin; print who did not take it, as JSON.

The first line is a JSON object: `urls`, `sender`, `title`, `kind` (as Apprise calls it), `within` (seconds), and the
`body`, which is otherwise whatever follows that line.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def deliver(order: dict[str, Any]) -> list[str]:
    """Give a message to Apprise; return who did not take it, by the name of the service."""
    from apprise import Apprise, AppriseAsset, NotifyFormat

    services, asset, missed = Apprise(), AppriseAsset(app_id=order["sender"]), []
    for number, url in enumerate(order["urls"], 1):
        service = Apprise.instantiate(url, asset=asset)
        missed += (
            [] if service and services.add(service) else [f"address {number} of NOTIFY_URLS is none that Apprise knows"]
        )
    results = services.notify(
        order["body"],
        title=order["title"],
        notify_type=order["kind"],
        body_format=NotifyFormat.TEXT,
        timeout=order["within"],
    )
    return missed + [
        f"{result.name} did not take it ({result.status.name.lower()})" for result in results if not result
    ]


if __name__ == "__main__":
    order = json.loads(sys.stdin.readline())
    missed = deliver({**order, "body": order.get("body") or sys.stdin.read()})
    sys.stdout.write(json.dumps(missed))
    sys.stdout.flush()
    os._exit(1 if missed and "body" not in order else 0)  # a service that hangs holds a thread, and a normal end waits
