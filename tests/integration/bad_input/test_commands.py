"""Commands that ask for what is not there, or that come while another operator works."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.bad_input.bad import Bad
from tests.support.site import ROOT

ASKED = {
    "unknown-environment": ["deploy --env=locl"],
    "unknown-option": ["deploy --form"],
    "unknown-release": ["deploy --to=nope", "rollback --to=nope"],
    "unknown-service": ["logs nope"],
}


@pytest.mark.parametrize("bad", ASKED, indirect=True)
def test_what_is_asked_for_is_not_there(bad: Bad) -> None:
    for command in ASKED[bad.name]:
        bad.meets(*command.split())


def test_no_earlier_release(bad: Bad) -> None:
    """Neither ledger nor journal, which is asked where the ledger does not say it, knows of one."""
    kept = {path: path.read_text() for path in (bad.site.state / name for name in ("ledger.jsonl", "journal.jsonl"))}
    for path, text in kept.items():
        path.write_text(
            "".join(
                line for line in text.splitlines(keepends=True) if bad.release in line and path.name == "ledger.jsonl"
            )
        )
    bad.meets("rollback")
    for path, text in kept.items():
        path.write_text(text)


def test_locked(bad: Bad) -> None:
    hold = """import sys
from pathlib import Path
from deploy.state import locks
from deploy.hosts.local import LocalHost
with locks.held([LocalHost()], Path(sys.argv[1]), 'deploy'): print(); input()
"""
    argv = [sys.executable, "-c", hold, str(bad.site.state)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert f"process {holder.pid}" in bad.meets("deploy")
        bad.meets("rollback")
        holder.communicate("\n")
