"""Promise: a checkout passes only where all of it was looked at; scanners leave parts of it out without a word."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

from deploy.hosts.local import LocalHost
from deploy.security import inspect, judge
from deploy.security.database import cache_folder
from deploy.security.findings import Inspection
from deploy.security.linters import LINTERS
from deploy.security.trivy import Data
from tests.flow.test_scanners import Checkout, checkout, key
from tests.support.advisories import IDS, archive

__all__ = ["checkout"]  # a fixture
LOCK = {
    "name": "a", "version": "1.0.0", "lockfileVersion": 3,
    "packages": {"": {"name": "a"}, "node_modules/planted-npm": {"version": "1.0.0"}},
}  # fmt: skip


def look(checkout: Checkout) -> dict[str, Inspection]:
    """Look at the checkout with a small database of vulnerabilities."""
    folder = cache_folder(checkout.settings) / "db"
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive()), mode="r:gz") as tar:
        for name in tar.getnames():
            (folder / name).write_bytes(tar.extractfile(name).read())  # type: ignore[union-attr]  # they are files
    files = inspect.tracked(checkout.settings, LocalHost())
    found = inspect.checkout(checkout.settings, LocalHost(), Data(updated="2026-12-01T00:00:00Z"), files)
    return {one.kind: one for one in found}


def result(inspection: Inspection, checkout: Checkout) -> str:
    return judge.judge(inspection, (), {}, checkout.settings).result


def test_folders_that_trivy_takes_for_a_systems_are_looked_into(checkout: Checkout) -> None:
    """At the top of a checkout, and in each other.

    A `dev` elsewhere is like any other; what git ignores is left out.
    """
    folders = ("dev", "dev/sys", "app/dev")
    checkout.write(".gitignore", "/dev/own/\nignored\n")
    for folder in (*folders, "dev/own"):
        checkout.write(f"{folder}/settings.toml", f"key = '{key()}'\n")
        checkout.write(f"{folder}/ignored", f"key = '{key()}'\n")
        checkout.write(f"{folder}/requirements.txt", "planted-pip==1.0\n")
        checkout.write(f"{folder}/Dockerfile", "FROM python:3.11\nUSER root\n")
    looked = look(checkout)
    assert sorted(one.path for one in looked["secrets"].findings) == sorted(f"{one}/settings.toml" for one in folders)
    locks = {one.path for one in looked["vulnerabilities"].findings if one.id == IDS["pip"]}
    assert locks == {f"{one}/requirements.txt" for one in folders}
    assert {f"{one}/Dockerfile" for one in folders} <= {one.path for one in looked["misconfigurations"].findings}


BROKEN = {
    "package-lock.json": json.dumps(LOCK, indent=1).replace('"name": "a"', '<<<<<<< HEAD\n"name": "a"', 1),
    "poetry.lock": '[[package]]\nname = "planted-pip"\nversion = "1.0"\n>>>>>>> theirs\n',
    "requirements.txt": "planted-pip>=1.0\n",
    "yarn.lock": "hello\n",
    "pnpm-lock.yaml": "a: [\n",
    "uv.lock": "version = 1\n[[package]\n",
}


def test_a_lock_that_cannot_be_read_passes_nothing(checkout: Checkout) -> None:
    """As one with the marks of a merge conflict, or one that names no versions; others are read even so."""
    for name, text in BROKEN.items():
        checkout.write(f"app/{name}", text)
    looked = look(checkout)["vulnerabilities"]
    assert (result(looked, checkout), looked.scope) == ("UNKNOWN", "1 pip packages")
    assert looked.unknown == f"Trivy read no package of {', '.join(f'app/{name}' for name in sorted(BROKEN))}"


def test_what_development_alone_needs_is_left_out_and_its_lock_was_read(checkout: Checkout) -> None:
    checkout.write("app/package-lock.json", json.dumps(LOCK))
    checkout.write("tools/package-lock.json", json.dumps(LOCK).replace('"1.0.0"}}}', '"1.0.0", "dev": true}}}'))
    looked = look(checkout)["vulnerabilities"]
    assert [(one.id, one.path) for one in looked.findings] == [(IDS["npm"], "app/package-lock.json")]
    assert (looked.unknown, looked.scope) == ("", "1 npm, 1 pip packages")


def test_a_file_that_cannot_be_opened_by_its_name_passes_nothing(checkout: Checkout) -> None:
    path = os.fsencode(checkout.root / "scripts") + b"/d\xe9ploy.sh"
    Path(os.fsdecode(path)).write_text("#!/bin/sh\nif [ $1 = a ]; then\n")
    files = inspect.tracked(checkout.settings, LocalHost())
    shell = inspect.lint(LINTERS[1], checkout.settings, LocalHost(), files)
    assert "cannot be read" in shell.unknown
    looked = look(checkout)
    assert all("scripts/d\\xe9ploy.sh cannot be read" in one.unknown for one in looked.values()), looked


def test_secrets_in_utf_16_are_found_and_locks_in_it_are_one(checkout: Checkout) -> None:
    """As PowerShell writes what is sent to a file."""
    for path in ("app/settings.toml", "dev/settings.toml"):
        checkout.write(path, "")
        (checkout.root / path).write_text(f"key = '{key()}'\n", encoding="utf-16")
    (checkout.root / "dev/requirements.txt").write_text("planted-pip==1.0\r\n", encoding="utf-16")
    looked = look(checkout)
    assert [one.path for one in looked["secrets"].findings] == ["app/settings.toml", "dev/settings.toml"]
    assert [one.path for one in looked["vulnerabilities"].findings] == ["dev/requirements.txt"]


def test_a_setting_of_git_hides_no_folder_of_the_history(checkout: Checkout) -> None:
    """`diff.relative`, where the app is a folder of its repository; nor does one shorten commits that waivers name."""
    checkout.write("deploy/old", f"key = '{key()}'\n")
    checkout.write("app/readme", "here\n")
    checkout.commit()
    checkout.git("config", "diff.relative", "true")
    checkout.git("config", "log.abbrevCommit", "true")
    settings = checkout.settings.model_copy(update={"root": checkout.root / "app"})
    (leak,) = inspect.history(settings, LocalHost()).findings
    assert (leak.path, len(leak.subject.partition(" ")[0])) == ("deploy/old", 12)
