"""The scripts that stand for `inv`, from wherever they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.config.settings import ROOT
from scripts import bootstrap


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose `inv` says how it was called, and ends with 7."""
    made = tmp_path / "a 'check' out"
    shutil.copytree(ROOT / "scripts", made / "scripts")
    inv = made / ".venv" / "bin" / "inv"
    inv.parent.mkdir(parents=True)
    inv.write_text('#!/bin/sh\nprintf "%s|" "$PWD" "$OPS_ROOT$OPS_ROLLOUT__STRATEGY" "$@"\nexit 7\n')
    inv.chmod(0o755)
    (tmp_path / "linked").symlink_to(made / "scripts")
    (tmp_path / "link").symlink_to("linked/deploy.sh")
    return made


def ran(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {"PATH": "/usr/bin:/bin", "CDPATH": "/usr", **environment}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=known)


def said(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    done = ran(folder, *words, **environment)
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


@pytest.mark.parametrize(("root", "meant"), [(".", "an app"), ("../an app", "an app"), ("/", "/"), ("-x", "an app/-x")])
def test_a_relative_app_is_the_one_where_one_stands(checkout: Path, root: str, meant: str) -> None:
    app = checkout.parent / "an app"
    (app / "-x").mkdir(parents=True)
    script = f"{checkout}/scripts/deploy.sh"
    assert said(app, script, "status", OPS_ROOT=root) == (7, f"{checkout}|{checkout.parent / meant}|status|")


@pytest.mark.parametrize("script", ["deploy.sh", "blue-green-deploy.sh"])
def test_without_inv_it_says_what_installs_it(checkout: Path, script: str) -> None:
    (checkout / ".venv" / "bin" / "inv").unlink()
    done = ran(checkout, f"scripts/{script}", *(["status"] if script == "deploy.sh" else []))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"inv is not installed; next: python3 {checkout}/scripts/bootstrap.py" in done.stderr


def test_bootstrap_starts_no_engine_that_is_not_for_this_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker.sock").touch()
    monkeypatch.setattr(bootstrap, "SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(bootstrap, "engine_answers", lambda: False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(bootstrap, "install", lambda _: pytest.fail("nothing is missing"))
    with pytest.raises(SystemExit):
        bootstrap.main()
    assert "may not use the Docker engine\n  next: sudo usermod -aG docker $USER" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("systemd", "then"),
    [(True, "journalctl -u docker"), (False, "tail /var/log/dockerd.log")],
    ids=["systemd", "by hand"],
)
def test_bootstrap_names_the_log_that_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], systemd: bool, then: str
) -> None:
    monkeypatch.setattr(bootstrap, "SYSTEMD", tmp_path if systemd else tmp_path / "none")
    monkeypatch.setattr(bootstrap, "SOCKET", tmp_path / "docker.sock")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "engine_answers", lambda: False)
    for name in ("as_root", "start_by_hand"):
        monkeypatch.setattr(bootstrap, name, lambda *_: None)
    monkeypatch.setattr("scripts.bootstrap.time.monotonic", iter([0, 61]).__next__)
    with pytest.raises(SystemExit):
        bootstrap.start_engine()
    assert f"next: {then}" in capsys.readouterr().err
