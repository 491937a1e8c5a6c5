"""What must be kept elsewhere for backups to be readable, and what doctor says of it. Pure."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.backups import escrow
from deploy.backups.escrow import Confirmation, Sheet, judge
from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.hosts.local import LocalHost
from deploy.rollout.rebuild import credentials
from deploy.state import kept
from tests.support import samples

SALT = "00" * 16
SHEET = Sheet("prod", {"offsite": "sftp://b@vault.example.org//srv"}, {"RESTIC_PASSWORD": "hunter2hunter2"})
STORED = Confirmation(salt=SALT, hash=SHEET.hashed(SALT), time="2026-11-30T05:00:00Z", who="ann@desk")


def test_nobody_confirmed_it() -> None:
    check = judge(SHEET, None)
    assert (check.result, check.then) == ("FAIL", "inv backup.escrow, and store what it prints elsewhere")


def test_it_was_stored_and_another_password_or_place_is_noticed() -> None:
    assert judge(SHEET, STORED).result == "PASS"
    for other in (
        replace(SHEET, secrets={"RESTIC_PASSWORD": "another"}),
        replace(SHEET, places={"offsite": "s3:https://s3.example.org/b"}),
        replace(SHEET, secrets={**SHEET.secrets, "AWS_ACCESS_KEY_ID": "x"}),
    ):
        assert "changed since 2026-11-30T05:00:00Z" in judge(other, STORED).evidence


def test_what_is_noted_holds_no_secret_and_the_sheet_says_how_to_rebuild() -> None:
    assert "hunter2" not in kept.dump(STORED)
    assert SHEET.hashed("11" * 16) != STORED.hash
    for word in ("RESTIC_PASSWORD=hunter2hunter2", "vault.example.org", "inv backup.rebuild --env=prod"):
        assert word in SHEET.text


def at(root: Path) -> Environment:
    here = LocalHost()
    return Environment(samples.settings(root), here, (here,))


def test_a_rebuild_reads_the_sheet_or_the_secrets_file_and_refuses_what_opens_nothing(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.json"
    sheet.write_text(json.dumps(SHEET.document))
    assert credentials(at(tmp_path), str(sheet)) == SHEET.secrets
    file = tmp_path / ".env.local"
    file.write_text("RESTIC_PASSWORD='hunter2hunter2'\nDATABASE_URL='x'\n")
    assert credentials(at(tmp_path), "") == SHEET.secrets, "what opens the backups, and no more"
    file.unlink()
    for text in ("{}", "[]", "no JSON", '{"secrets": {"AWS_ACCESS_KEY_ID": "x"}}'):
        sheet.write_text(text)
        with pytest.raises(Refused) as refused:
            credentials(at(tmp_path), str(sheet))
        assert refused.value.slug == "escrow-missing"
    with pytest.raises(Refused):
        credentials(at(tmp_path), "")


def test_a_sheet_that_nobody_read_is_not_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `inv backup.escrow --json --yes | false`."""
    local = LocalHost()
    here = Environment(samples.settings(tmp_path, state=tmp_path / "state"), local, (local,))
    run = SimpleNamespace(host=here.here)
    monkeypatch.setattr(escrow, "repository_of", lambda _: SimpleNamespace(run=run))
    monkeypatch.setattr(escrow, "sheet_of", lambda _: SHEET)
    out, given = os.pipe()
    os.close(out)
    with os.fdopen(given, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(OpsError) as failed:
            escrow.escrow(here, yes=True, json=True)
    assert failed.value.slug == "escrow-not-stored"
    note = here.settings.state_dir / escrow.FILE
    assert not note.exists()
    with (tmp_path / "sheet").open("w") as store:
        monkeypatch.setattr("sys.stdout", store)
        escrow.escrow(here, yes=True, json=True)
    assert note.exists()
