"""What tests of scans share: the answers of scanners, and a folder where they run."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.config.loader import load
from deploy.config.sections import Scan
from deploy.core.shell import Command, Script
from deploy.hosts.local import LocalHost
from deploy.images.archive import Archived
from deploy.images.inventory import ImageTransfer
from deploy.security import database, inspect, judge, trivy
from deploy.security.findings import Inspection
from deploy.security.trivy import Data
from tests.support.advisories import ADVISORIES, Pages

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FRESH = {"Version": 2, "UpdatedAt": "2026-11-30T06:00:00Z", "NextUpdate": "2026-12-01T06:00:00Z"}
DATA = Data(6, "2026-11-30T06:00:00Z")
SETTINGS = load("local")
WHOLE = Pages().file(ADVISORIES)
FLASK = {
    "VulnerabilityID": "CVE-2999-1", "PkgName": "flask", "InstalledVersion": "1.0", "FixedVersion": "2.0, 3.0",
    "Severity": "CRITICAL", "Title": "bad", "PkgIdentifier": {"PURL": "pkg:pypi/flask@1.0"},
    "PkgPath": "venv/flask/METADATA",
}  # fmt: skip


def answer(*, found: bool = False, **more: Any) -> dict[str, Any]:
    """What Trivy 0.76 answers for a small image."""
    python = {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg", "Packages": [{"Name": "flask"}]}
    return {
        "SchemaVersion": 2, "ArtifactName": "folder",
        "Metadata": {"Size": 9_000_000, "OS": {"Family": "debian", "Name": "12.12"}, "DiffIDs": ["sha256:1"],
                     "ImageID": "sha256:bb"},
        "Results": [{"Target": "folder (debian 12.12)", "Class": "os-pkgs", "Type": "debian",
                     "Packages": [{"Name": "zlib"}, {"Name": "libc"}]},
                    python | ({"Vulnerabilities": [FLASK]} if found else {})],
        **more,
    }  # fmt: skip


class Here(LocalHost):
    """This machine; the engine's images are not asked for."""

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        return "" if isinstance(command, Script) else super().run(command, stdin=stdin, timeout=timeout)


class Bench:
    """A fake Trivy, a database's metadata, and an image to look into."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.program = folder, folder / "trivy"
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.database: dict[str, Any] | None = FRESH
        self.answers(answer())

    def answers(self, document: object, script: str = "", version: str = "0.76.0") -> None:
        """Have Trivy answer so, or do what a script says."""
        (self.folder / "answer.json").write_text(document if isinstance(document, str) else json.dumps(document))
        body = script or f'case "$1" in --version) echo Version: {version};; *) cat "{self.folder}/answer.json";; esac'
        self.program.write_text(f"#!/bin/sh\n{body}\n")
        self.program.chmod(0o755)

    def look(self, name: str) -> list[Inspection]:
        """Inspection into an image as `inv scan` does."""
        chosen = {"programs": {"trivy": str(self.program)}, "within": 1.0}
        settings = SETTINGS.model_copy(update={"root": self.folder, "scan": Scan.model_validate(chosen)})
        if self.database is not None:
            place = database.cache_folder(settings) / "db" / "metadata.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(self.database))
            place.with_name("trivy.db").write_bytes(WHOLE)
        data, _ = database.update(settings, Here(), now=NOW)
        image = ImageTransfer(name, name, Archived(digest="sha256:aa", config="sha256:bb", layers=()))
        return inspect.image(image, settings, Here(), data)[0]


def results(inspections: list[Inspection]) -> dict[str, str]:
    """What each check comes to."""
    return {inspection.kind: judge.judge(inspection, (), {}, SETTINGS).result for inspection in inspections}


def inspections_of(document: dict[str, Any], *, least: int = 2, packageless: bool = False) -> list[Inspection]:
    return trivy.image_inspections(trivy.read(json.dumps(document)), "app", DATA, least=least, packageless=packageless)
