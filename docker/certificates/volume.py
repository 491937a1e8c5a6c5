"""The volume of certificates: versions that are kept, one of them served."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
from pathlib import Path

VOLUME = Path(os.environ.get("CERTIFICATES", "/certificates"))
SERVED, VERSIONS, ACME, CHALLENGES = (VOLUME / name for name in ("served", "versions", "acme", "challenges"))
SHARED = VOLUME / "shared.key"  # of several edges with one certificate
FETCHED = VOLUME / "fetched"  # when what another edge gave was sealed
CHAIN, KEY, PART = "fullchain.pem", "privkey.pem", ".part"
# nginx/frame.conf.j2 includes what a version brings: it redirects nobody to a temporary one
TEMPORARY, EDGE, IS_TEMPORARY = "temporary", "edge.conf", b"set $is_temporary yes;\n"


class Failed(Exception):
    """A program did not come to its end; `error` is the cause in one word."""

    def __init__(self, error: str, detail: str) -> None:
        super().__init__(detail)
        self.error, self.detail = error, detail


def served() -> str:
    """Name the version that is served; empty where there is none, or where the link leads nowhere."""
    return SERVED.readlink().name if (SERVED / CHAIN).exists() and (SERVED / KEY).exists() else ""


def sync(folder: Path) -> None:
    """Have what a folder holds, by name, on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that had this mode from its first byte, and have it on the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace(path: Path, data: bytes) -> None:
    """Put a file that nobody else may read in another one's place, whole or not at all."""
    part = path.with_name(f"{path.name}{PART}")
    part.unlink(missing_ok=True)
    write(part, data, 0o600)
    part.rename(path)
    sync(path.parent)


def keep(chain: bytes, key: bytes, version: str) -> str:
    """Keep a certificate and its key as a version, whole or not at all; return its name."""
    if (VERSIONS / version).exists():
        return version
    part = VERSIONS / f"{version}{PART}"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        write(part / CHAIN, chain, 0o644)
        write(part / KEY, key, 0o600)
        if version == TEMPORARY:
            write(part / EDGE, IS_TEMPORARY, 0o644)
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(part / CHAIN, part / KEY, password="")
        part.rename(VERSIONS / version)
        sync(VERSIONS)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise Failed("key-mismatch", "the key does not belong to the certificate") from None
        raise Failed("not-taken", f"OpenSSL takes neither this certificate nor its key: {error.reason}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return version


def kept(chain: bytes, key: bytes) -> dict[str, object]:
    """Keep a certificate and its key under a name that tells what it is."""
    version = keep(chain, key, hashlib.sha256(chain).hexdigest()[:16])
    return {"version": version, "served": served(), **life(chain), "chain": chain.decode()}


def life(chain: bytes) -> dict[str, int]:
    """Tell from when to when a certificate is valid, in seconds since 1970."""
    from cryptography import x509

    first = x509.load_pem_x509_certificates(chain)[0]
    times = {"not_before": first.not_valid_before_utc, "not_after": first.not_valid_after_utc}
    return {name: int(time.timestamp()) for name, time in times.items()}


def link(version: str) -> None:
    """Serve a version from the next reload on."""
    part = SERVED.with_name(f"{SERVED.name}{PART}")
    part.unlink(missing_ok=True)
    part.symlink_to(f"{VERSIONS.name}/{version}")
    part.rename(SERVED)
    sync(VOLUME)
