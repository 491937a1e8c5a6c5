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
    found = {"PATH": "/usr/bin:/bin", "CDPATH": "/usr", **environment}
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, env=found)


def outcome(folder: Path, *words: str, **environment: str) -> tuple[int, str]:
    done = ran(folder, *words, **environment)
    return done.returncode, done.stdout


@pytest.mark.parametrize("place", [".", "..", "/"])
def test_words_and_exit_code_pass_through(checkout: Path, place: str) -> None:
    folder = checkout / place
    own = Path(*[checkout.name] * (place == ".."), "scripts") if place != "/" else checkout / "scripts"
    assert outcome(folder, f"{own}/deploy.sh", "status", "--env=a b", "*") == (7, f"{checkout}||status|--env=a b|*|")
    assert outcome(folder, f"{own}/blue-green-deploy.sh", "--json") == (7, f"{checkout}|blue_green|deploy|--json|")
    assert outcome(folder, f"{own}/migrate-and-deploy.sh", "--json") == (7, f"{checkout}||deploy|--json|")
    assert outcome(folder, f"{own}/backup.sh") == (7, f"{checkout}||backup|")
    assert outcome(folder, f"{own}/setup-monitoring.sh", "--json") == (7, f"{checkout}||monitor.up|--json|")
    assert outcome(folder, f"{own}/backup.sh", "--env=a b") == (7, f"{checkout}||backup|--env=a b|")
    assert outcome(folder, f"{own}/backup.sh", "restore", "1a2b", "--yes") == (
        7,
        f"{checkout}||backup.restore|1a2b|--yes|",
    )


@pytest.mark.parametrize("place", [".", "..", "/"])
@pytest.mark.parametrize("words", [("down", "--yes"), ()])
def test_nothing_else_is_passed_on(checkout: Path, place: str, words: tuple[str, ...]) -> None:
    own = Path(*[checkout.name] * (place == ".."), "scripts") if place != "/" else checkout / "scripts"
    assert outcome(checkout / place, f"{own}/deploy.sh", *words) == (2, "")
    assert outcome(checkout / place, f"{own}/backup.sh", "take-it-all", *words) == (2, "")


def test_links_lead_to_the_checkout(checkout: Path) -> None:
    assert outcome(checkout.parent, "./link", "rollback") == (7, f"{checkout}||rollback|")


@pytest.mark.parametrize(("root", "meant"), [(".", "an app"), ("../an app", "an app"), ("/", "/"), ("-x", "an app/-x")])
def test_a_relative_app_is_the_one_where_one_stands(checkout: Path, root: str, meant: str) -> None:
    app = checkout.parent / "an app"
    (app / "-x").mkdir(parents=True)
    script = f"{checkout}/scripts/deploy.sh"
    assert outcome(app, script, "status", OPS_ROOT=root) == (7, f"{checkout}|{checkout.parent / meant}|status|")


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


@pytest.mark.parametrize(("added", "written"), [(True, 1), (False, 0)])
def test_bootstrap_repairs_the_updates_of_a_machine_that_it_set_up_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, added: bool, written: int
) -> None:
    """The engine is there already, so nothing is installed; once it is written nothing is changed any more."""
    made, updates = list[Path](), tmp_path / "updates"

    def write(path: Path, text: str) -> None:
        made.append(path)
        path.write_text(text)

    monkeypatch.setattr(bootstrap, "NEWER_SOURCES", tmp_path if added else tmp_path / "none")
    monkeypatch.setattr(bootstrap, "UPDATES_FILE", updates)
    monkeypatch.setattr("scripts.bootstrap.os.geteuid", lambda: 0)
    monkeypatch.setattr(bootstrap, "write_as_root", write)
    monkeypatch.setattr(bootstrap, "missing_system_packages", list)
    monkeypatch.setattr(bootstrap, "engine_answers", lambda: True)
    monkeypatch.setattr("scripts.bootstrap.shutil.which", lambda _: "there")
    monkeypatch.setattr(bootstrap, "sync_environment", lambda: None)
    monkeypatch.setattr("sys.argv", ["bootstrap.py"])
    for _ in range(2):
        bootstrap.main()
    assert made == [updates] * written
    assert not added or "codename=bookworm-security" in updates.read_text()


@pytest.fixture
def runner(checkout: Path) -> Path:
    """A checkout on a CI's machine, and the file for outputs of its steps; its account has an empty home."""
    (checkout / "home").mkdir()
    return checkout


def credentials(runner: Path, env: str = "staging", **given: str) -> tuple[int, str, str]:
    """Write credentials; return the exit code, what a person reads, and what the steps after it read."""
    output = runner / "output"
    output.unlink(missing_ok=True)
    own = {"HOME": str(runner / "home"), "GITHUB_OUTPUT": str(output)}
    done = ran(runner, "scripts/ci-credentials", env, **own, **given)
    return done.returncode, done.stdout + done.stderr, output.read_text() if output.exists() else ""


def key_of(runner: Path, kind: str = "ed25519", passphrase: str = "", part: str = "") -> str:
    made = runner / f"made-{kind}"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(made)], check=True)
    return Path(f"{made}{part}").read_text()


def test_credentials_are_written_for_this_account_alone(runner: Path) -> None:
    key = key_of(runner)
    given = {"SSH_KEY": key.replace("\n", "\r\n").strip(), "SECRETS_FILE": "WORD='two\nlines'\r\nOTHER=$x"}
    assert credentials(runner, **given) == (0, "", "ready=true\n")
    written = {runner / "home/.ssh/id_ed25519": key, runner / ".env.staging": "WORD='two\nlines'\nOTHER=$x\n"}
    assert {path: path.read_text() for path in written} == written
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (runner / "home/.ssh").stat().st_mode & 0o777 == 0o700
    assert credentials(runner, **given) == (0, "", "ready=true\n"), "again"
    code, message, output = credentials(runner, **{**given, "SECRETS_FILE": "WORD=other"})
    assert (code, output) == (2, "")
    assert ".env.staging is there already, and is another" in message
    assert {path: path.read_text() for path in written} == written


def test_a_fork_without_secrets_hears_that_nothing_is_deployed(runner: Path) -> None:
    code, message, output = credentials(runner, SSH_KEY="", SECRETS_FILE="")
    assert (code, output) == (0, "ready=false\n")
    assert "::notice title=Nothing is deployed to staging::" in message
    assert not (runner / "home/.ssh").exists()
    assert not (runner / ".env.staging").exists()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"SECRETS_FILE": "WORD=x"}, "SSH_KEY is not"),
        ({"SSH_KEY": "ssh-ed25519 AAAA"}, "SSH_KEY is no Ed25519 private key"),
        ({"SSH_KEY": "public"}, "SSH_KEY is no Ed25519 private key"),
        ({"SSH_KEY": "locked"}, "private key without a passphrase"),
        ({"SSH_KEY": "rsa"}, "SSH_KEY is no Ed25519 private key"),
        ({"env": "../etc", "SSH_KEY": "x"}, "no environment is named"),
    ],
    ids=["half of them", "no key", "a public key", "with a passphrase", "of another kind", "another folder"],
)
def test_credentials_that_cannot_be_used_are_refused_and_not_shown(
    runner: Path, given: dict[str, str], reason: str
) -> None:
    made = {"public": {"part": ".pub"}, "locked": {"passphrase": "six red boats"}, "rsa": {"kind": "rsa"}}
    if (how := given.get("SSH_KEY")) in made:
        given = {**given, "SSH_KEY": key_of(runner, **made[how])}
    code, message, output = credentials(runner, **given)
    assert (code, output) == (2, "")
    assert reason in message
    assert not [*(runner / "home").rglob("id_*")]
    assert not any(line in message for line in given.get("SSH_KEY", "").splitlines() if len(line) > 6)


def test_a_key_of_a_person_that_a_ci_cannot_use_is_not_removed(runner: Path) -> None:
    key, there = key_of(runner, "rsa"), runner / "home/.ssh/id_ed25519"
    there.parent.mkdir(parents=True)
    there.write_text(key)
    assert credentials(runner, SSH_KEY=key)[0] == 2
    assert there.read_text() == key
