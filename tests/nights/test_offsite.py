"""Off-site repositories that are down, hung, full or of another password.

By SFTP with another host key is held by tests/integration/test_backup.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.integration.test_backup import sql
from tests.support import vaults
from tests.support.site import Site, make_bookreader
from tests.support.vaults import Vault

PATIENCE = 100  # seconds that a command may take to say that nobody answers


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """Servers near and far."""
    with vaults.both(tmp_path_factory.mktemp("vaults")) as made:
        yield made


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, vault: Vault) -> Iterator[Site]:
    """BookReader with a local repository; the S3 server is the one off-site."""
    site = make_bookreader(tmp_path_factory.mktemp("shelf"))
    secrets = site.root / ".env.local"
    secrets.write_text(secrets.read_text() + vault.secrets)
    site.extra["OPS_BACKUP__OFFSITE"] = vault.bucket.url
    site.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
    site.inv("deploy")
    yield site
    site.sweep()


def test_s3_off_site_is_read_back_and_down_it_is_told_within_a_minute(shelf: Site, vault: Vault) -> None:
    """The S3 server off-site hangs."""
    assert shelf.inv("backup", "--json").document["places"] == ["local", "off-site"]
    assert shelf.inv("backup.verify", "--offsite", "--json").document[0]["state"] == "read"
    os.kill(vault.bucket.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        failed = shelf.inv("backup", "--json", code=1).document
        assert failed["slug"] == "offsite-failed"
        assert "no answer within 60 s" in failed["error"]
        assert time.monotonic() - began < PATIENCE
        listed = shelf.inv("backup.list", "--json", code=1).document
        assert [point["places"] for point in listed] == [["local"], ["local"]]
    finally:
        os.kill(vault.bucket.process.pid, signal.SIGCONT)
    assert shelf.inv("backup.copy", "--json").document[0]["places"] == ["local", "off-site"]


def test_a_disk_off_site_that_is_full(shelf: Site, vault: Vault) -> None:
    """The disk of the off-site repository is full when a point is copied there, by SFTP: S3 knows no full disk."""
    (folder := vault.server.folder / "vault").mkdir()
    bucket = shelf.extra["OPS_BACKUP__OFFSITE"]
    shelf.extra.update(OPS_BACKUP__OFFSITE=vault.far, OPS_BACKUP__OFFSITE_KEY=vault.server.key)
    shelf.inv("deploy")
    sql(shelf, "CREATE TABLE noise AS SELECT sha512(random()::text::bytea) AS bytes FROM generate_series(1, 300000)")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)], check=True)
    try:
        failed = shelf.inv("backup", "--json", code=1).document
        assert (failed["slug"], "and not off-site" in failed["error"]) == ("offsite-failed", True)
        newest, *_ = shelf.inv("backup.list", "--json").document
        assert newest["places"] == ["local"]
        subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        assert shelf.inv("backup.copy", "--json").document[0]["places"] == ["local", "off-site"]
        assert shelf.inv("backup.verify", "--offsite", "--json").document[0]["state"] == "read"
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        sql(shelf, "DROP TABLE noise")
        shelf.extra["OPS_BACKUP__OFFSITE"] = bucket
        del shelf.extra["OPS_BACKUP__OFFSITE_KEY"]


def test_an_off_site_repository_of_another_password_gets_nothing(shelf: Site) -> None:
    """The repository off-site was made with another password."""
    secrets = shelf.root / ".env.local"
    text = secrets.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("RESTIC_PASSWORD")]
    secrets.write_text("\n".join([*lines, "RESTIC_PASSWORD=another-one-that-is-long", ""]))
    shelf.extra["OPS_BACKUP__REPOSITORY"] = "/backups/other"
    shelf.inv("deploy")
    failed = shelf.inv("backup", "--json", code=1).document
    assert failed["slug"] == "offsite-failed"
    assert "RESTIC_PASSWORD is not the password of this repository" in failed["error"]
