"""`inv scan`: the security gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command(
    help={
        "sarif": "a file for GitHub's code scanning",
        "base": "an earlier --json report: only new findings block",
        "against": "a commit: only findings that it lacks block",
    }
)
def scan(at: Environment, sarif: str = "", base: str = "", against: str = "", json: bool = False) -> None:
    """Look for vulnerabilities, secrets and misconfiguration in images, files and history; PASS, FAIL or UNKNOWN."""
    from deploy.security import report, scan

    place = scan.require_file(sarif) if sarif else None
    report.show(scan.scan(at, base=base, against=against), json=json, sarif=place)
