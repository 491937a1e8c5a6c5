"""A host is lost with everything on it, and a bare one takes its place.

The same host with everything of the site removed is held by tests/integration/test_backup.py.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from deploy.core.poll import wait_until
from tests.integration.test_backup import BOOK
from tests.machines import Machine, fleet
from tests.support import remote, vaults
from tests.support.site import Site, make_bookreader


def titles(site: Site, machine: Machine) -> list[str]:
    """The shelf as a visitor of a host sees it."""
    status, body = site.get("/api/books", address=machine.address)
    return sorted(book["title"] for book in json.loads(body)) if status == 200 else [f"{status}: {body}"]


def test_a_bare_host_takes_the_place_of_one_that_is_gone(tmp_path: Path) -> None:
    """The host burns down, and the operator's secrets file with it."""
    with fleet(tmp_path / "operator") as machines:
        old = machines.start("old")
        with vaults.sftp(tmp_path / "far", old.operator) as (server, far):
            site = make_bookreader(tmp_path / "site")
            secrets = site.root / f".env.{remote.ENV}"
            site.inv("secrets.init", f"--env={remote.ENV}")
            key = (server.folder / "user").read_text()
            secrets.write_text(f"{secrets.read_text()}BACKUP_SSH_KEY='{key}'\n")
            patience = "[rollout]\nwatch = 0\nhealthy_within = 240"  # 60 s are for a quiet machine
            backup = f'[backup]\noffsite = "{far}"\noffsite_key = "{server.key}"\n{patience}'
            remote.name_hosts(site, {"app1": old}, machines.key, backup)
            remote.inv(site, "build", "--push")
            remote.inv(site, "deploy")
            put = f'docker exec {site.app}-{remote.ENV}-postgres-1 psql -h /var/run/postgresql -U bookreader -qc "$1"'
            old.sh(put, BOOK.replace("TITLE", "Phoenix"))
            assert titles(site, old) == ["Phoenix"]
            point = remote.inv(site, "backup", "--json").document
            assert point["places"] == ["local", "off-site"]
            sheet = tmp_path / "sheet.json"
            sheet.write_text(remote.inv(site, "backup.escrow", "--json", "--yes").stdout)

            machines.end(old)
            secrets.unlink()
            new = machines.start("new")
            remote.name_hosts(site, {"app1": new}, machines.key, backup)
            remote.inv(site, "build", "--push")
            began = time.monotonic()
            refused = remote.inv(site, "backup.rebuild", f"--escrow={sheet}", code=2).stderr
            assert "needs images that the host lacks" in refused
            assert "inv backup.rebuild --env=staging --this-checkout" in refused
            remote.inv(site, "backup.rebuild", f"--escrow={sheet}", "--this-checkout")
            sys.stderr.write(f"rebuilt in {time.monotonic() - began:.1f} s\n")
            assert wait_until(lambda: titles(site, new) == ["Phoenix"], 10), titles(site, new)
            listed, *_ = remote.inv(site, "backup.list", "--json").document
            assert (listed["id"], listed["places"]) == (point["id"], ["local", "off-site"])
            assert "nothing to do" in remote.inv(site, "deploy").stderr
