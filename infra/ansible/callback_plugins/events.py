"""A JSON line on stdout for each thing that happens in a play; deploy/provisioning/events.py reads them."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]  # it has no types

DOCUMENTATION = """
name: events
type: stdout
short_description: a JSON line for each event
description: [a JSON line for each event]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]  # it has no types
    """Prints the events that a person is shown, and what a check is judged by."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "events"

    def emit(self, **event: Any) -> None:
        """Print one event; end all of this run where nobody reads it any more.

        `inv` was killed, and the next one must not work on the same server at the same time.
        """
        try:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            os.killpg(0, signal.SIGTERM)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002  # passed by name
        """Say which task begins, of which role."""
        self.emit(kind="task", task=task.name, role=str(task._role or ""))

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Say which handler begins."""
        self.v2_playbook_on_task_start(task, False)

    def end(self, outcome: str, result: Any) -> None:
        """Say what a task came to on a host; a loop's items are in its results."""
        found = result._result
        parts = [part for part in (found, *found.get("results", [])) if isinstance(part, dict)]
        diffs = [diff for part in parts for diff in listed(part.get("diff"))]
        note = str(found.get("msg", "")) if result._task.action.endswith("debug") else ""
        self.emit(
            kind="result", host=result._host.get_name(), task=result._task.name, outcome=outcome,
            message=message(parts) if outcome in ("failed", "unreachable") else note,
            diff=self._get_diff(diffs) if outcome == "changed" and diffs else str(found.get("stdout", "")),
        )  # fmt: skip

    def v2_runner_on_ok(self, result: Any) -> None:
        """Say that a task went well, and whether it changed anything."""
        self.end("changed" if result._result.get("changed") else "ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Say that a task failed."""
        self.end("ok" if ignore_errors else "failed", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Say that a host is not reached any more."""
        self.end("unreachable", result)


def listed(diff: Any) -> list[Any]:
    """Return differences as a list, however a module has them."""
    return diff if isinstance(diff, list) else [diff] if diff else []


def message(parts: list[dict[str, Any]]) -> str:
    """Say why a task failed, in the words of its parts that failed."""
    failed = [part for part in parts if part.get("failed") or part.get("unreachable")] or parts
    keys = ("msg", "stderr", "module_stderr", "module_stdout")
    return "\n".join(dict.fromkeys(str(part[key]).strip() for part in failed for key in keys if part.get(key)))
