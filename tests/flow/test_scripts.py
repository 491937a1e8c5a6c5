"""The scripts that stand for `inv`, from wherever they are called."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.settings import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `inv` says how it was called, and ends with 7."""
    made = tmp_path / "a 'check' out"
    shutil.copytree(ROOT / "scripts", made / "scripts")
    inv = made / ".venv" / "bin" / "inv"
    inv.parent.mkdir(parents=True)
    inv.write_text('#!/bin/sh\nprintf "%s|" "$PWD" "$OPS_ROLLOUT__STRATEGY" "$@"\nexit 7\n')
    inv.chmod(0o755)
    (tmp_path / "linked").symlink_to(made / "scripts")
    (tmp_path / "link").symlink_to("linked/deploy.sh")
    return made


def said(folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "CDPATH": "/usr"})
    return done.returncode, done.stdout


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_words_and_exit_code_pass_through(checkout: Path, place: str) -> None:
    folder = checkout / place
    own = Path(*[checkout.name] * (place == ".."), "scripts") if place != "/" else checkout / "scripts"
    assert said(folder, f"{own}/deploy.sh", "status", "--env=a b", "*") == (7, f"{checkout}||status|--env=a b|*|")
    assert said(folder, f"{own}/blue-green-deploy.sh", "--json") == (7, f"{checkout}|blue_green|deploy|--json|")


@pytest.mark.parametrize("place", [".", "..", "/"])
@pytest.mark.parametrize("words", [("down", "--yes"), ()])
def test_nothing_else_is_passed_on(checkout: Path, place: str, words: tuple[str, ...]) -> None:
    own = Path(*[checkout.name] * (place == ".."), "scripts") if place != "/" else checkout / "scripts"
    assert said(checkout / place, f"{own}/deploy.sh", *words) == (2, "")


def test_links_lead_to_the_checkout(checkout: Path) -> None:
    assert said(checkout.parent, "./link", "rollback") == (7, f"{checkout}||rollback|")
