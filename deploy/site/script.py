"""What the scripts have in common that a host runs by itself: their command lines, and whom they notify."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping

from deploy.core.shell import Command
from deploy.site import notify
from deploy.site.run import Run


def line(command: Command, variables: Mapping[str, str]) -> str:
    """Write a command as a line of a script in which these texts are variables of the shell, by name. Pure."""
    return " ".join(quoted(word, variables) for word in command.argv)


def quoted(word: str, variables: Mapping[str, str]) -> str:
    """Quote a word for a shell; what stands around a variable is text, whatever it holds. Pure."""
    texts = re.split(f"({'|'.join(map(re.escape, variables))})", word) if variables else [word]
    parts = [f'"${variables[text]}"' if text in variables else shlex.quote(text) for text in texts if text]
    return "".join(parts) or "''"


def write_order(run: Run, file: str, title: str) -> str:
    """Leave on a host who is notified of a failure, for its owner alone; return in words whether anybody is."""
    settings, path, urls = run.settings, run.settings.state_dir / file, notify.addresses(run.settings)
    lacks = [
        *([] if urls else [f"{notify.KEY} is not set"]),
        *([] if "failure" in settings.notify.on else ["notify.on lacks failure"]),
        *([] if run.bundle.release.of("notify") else ["the release has no service with the role notify"]),
    ]
    if lacks:
        run.host.remove(path)
        return f"nobody is notified of one that fails: {', '.join(lacks)}"
    order = notify.order(settings, f"{settings.name}: {title}", "failure")
    run.host.write(path, json.dumps(order) + "\n", mode=0o600)
    return f"{len(urls)} address(es) are notified of one that fails"
