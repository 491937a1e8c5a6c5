"""What certbot keeps for itself, discarded where it cannot be read: what is served is a copy, and stays."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from volume import ACME

FILES = ("cert", "chain", "fullchain", "privkey")


def discard_damaged(name: str) -> None:
    """Discard what a crash or a loss of power left half written.

    certbot would order a certificate at each run, under another name that nobody reads, or fail for ever.
    """
    parts = [ACME / "live" / name, ACME / "archive" / name, ACME / "renewal" / f"{name}.conf"]
    if any(map(os.path.lexists, parts)) and not readable(*parts):
        for part in parts:
            discard(part)
    for account in {path.parent for path in (ACME / "accounts").rglob("*.json")}:
        try:
            for path in account.glob("*.json"):
                json.loads(path.read_bytes())
        except ValueError:
            discard(account)


def readable(live: Path, _: Path, configuration: Path) -> bool:
    """Tell whether certbot can read a certificate of its own, and the key belongs to it."""
    with suppress(OSError, ssl.SSLError, ValueError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(live / "fullchain.pem", live / "privkey.pem", "")
        keys = {line.partition(" = ")[0] for line in configuration.read_text(errors="replace").splitlines()}
        return {*FILES, "[renewalparams]"} <= keys and all((live / f"{file}.pem").stat().st_size for file in FILES)
    return False


def discard_accounts(server: str) -> None:
    """Discard the accounts at a server that does not have them any more."""
    discard(ACME / "accounts" / urlsplit(server).netloc)


def discard(path: Path) -> None:
    """Remove a folder, or a file; one that is gone is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
