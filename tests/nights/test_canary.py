"""BookReader's own secrets, with scans, backups, a drill: nothing shows one.

The short part is tests/integration/test_canary.py.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.advisories import served
from tests.support.canary import Canary
from tests.support.site import docker, make_bookreader


def test_no_secret_shows_in_scans_backups_drills_and_restores(tmp_path: Path) -> None:
    """Secrets are looked for in argv, output, logs, records, SBOMs and images, from the build on to the restore."""
    site = make_bookreader(tmp_path)
    try:
        text = (site.root / ".env.local").read_text()
        marked = Canary(tuple(re.findall(r"(?m)^[A-Z_]+_PASSWORD=(\S{20,})$", text)))
        assert len(marked.marks) == 2
        with marked.processes():
            marked.inv(site, "build")
            release = marked.inv(site, "deploy", "--json").document["release"]
            point = marked.inv(site, "backup", "--json").document["id"]
            for words in (
                ["backup.list"],
                ["backup.verify", point],
                ["backup.drill"],
                ["backup.restore", point, "--yes"],
            ):
                marked.inv(site, *words)
            marked.inv(site, "--debug", "backup.list")
            with served() as registry:  # whatever it came to: Debian testing has no advisories
                databases = json.dumps([registry.repository])
                scanned = marked.inv(site, "scan", "--json", code=None, OPS_SCAN__DATABASES=databases).document
            marked.inv(
                site, "deploy", code=1, OPS_ROLLOUT__HEALTHY_WITHIN="0.1", OPS_VARIABLES__DEBUG_ENDPOINTS="false"
            )
        assert len(marked.seen) > 100
        assert len([*(site.state / "scans").glob("*.cdx.json")]) == len(scanned["images"]) > 4
        assert marked.folder(site.state, but=["env"]) > 20
        assert marked.logs(site) > 4
        names = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
        assert sum(marked.image(name) for name in names if name.endswith(release)) > 1000
        assert marked.hits == []
    finally:
        site.sweep()
