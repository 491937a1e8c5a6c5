"""One certificate for several edges: the one that obtains it seals it, the others fetch it and open it.

They share a key, which `inv tls.issue` brings to each. Without it nobody finds the file, nor opens it.
"""

from __future__ import annotations

import hmac
import json
import sys
import time
from argparse import Namespace
from contextlib import suppress
from http.client import HTTPException

from asking import DIRECTORY, get
from volume import CHAIN, CHALLENGES, FETCHED, KEY, SERVED, SHARED, TEMPORARY, Failed, kept, life, replace, served

PREFIX = "ops-sealed-"
MOST_BYTES = 1 << 20


def share(words: Namespace) -> dict[str, object]:
    """Keep the key that came on stdin; with --seal also seal what is served, for those that have the same key."""
    from cryptography.fernet import Fernet

    secret = sys.stdin.buffer.read().strip()
    Fernet(secret)  # what is none is not kept
    replace(SHARED, secret)
    FETCHED.unlink(missing_ok=True)
    discard_sealed()
    if words.seal and served() not in ("", TEMPORARY):
        seal((SERVED / CHAIN).read_bytes(), (SERVED / KEY).read_bytes())
    return {"shared": True}


def unshare() -> None:
    """Forget the key: this edge has its certificate alone."""
    discard_sealed()
    for path in (SHARED, FETCHED):
        path.unlink(missing_ok=True)


def seal(chain: bytes, key: bytes) -> None:
    """Seal a certificate and its key, and lay them where the other edges fetch them."""
    from cryptography.fernet import Fernet

    secret, folder = shared(), CHALLENGES / DIRECTORY
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps({CHAIN: chain.decode(), KEY: key.decode()})
    replace(folder / name(secret), Fernet(secret).encrypt(document.encode()))


def discard_sealed() -> None:
    """Discard what was sealed before, for whatever key."""
    for file in (CHALLENGES / DIRECTORY).glob(f"{PREFIX}*"):
        file.unlink()


def follow(words: Namespace) -> dict[str, object]:
    """Fetch the certificate that another edge obtained, and keep it."""
    from cryptography.fernet import Fernet, InvalidToken

    secret = shared()
    place = f"{words.source}/{DIRECTORY}/"
    try:
        status, _, body = get(f"{place}{name(secret)}", words.names[0], MOST_BYTES)
    except (OSError, HTTPException) as error:
        raise Failed("not-fetched", f"{place}: {error or type(error).__name__}") from None
    if status != 200:
        raise Failed("not-fetched", f"{place} answers {status}: nothing is sealed there for this host's key")
    try:
        files, sealed = json.loads(Fernet(secret).decrypt(body)), Fernet(secret).extract_timestamp(body)
    except InvalidToken:
        raise Failed("not-fetched", f"{place} answers with what this host's key does not open") from None
    if sealed < fetched():
        raise Failed("not-fetched", f"{place} answers with a file that is older than what this host fetched before")
    chain, key = files[CHAIN].encode(), files[KEY].encode()
    if life(chain)["not_after"] <= time.time():
        raise Failed("not-fetched", f"{place} has one that has expired")
    document = kept(chain, key)
    replace(FETCHED, str(sealed).encode())
    return document


def fetched() -> int:
    """Tell when what was fetched last was sealed, in seconds since 1970: who is between the hosts may have kept it."""
    with suppress(OSError, ValueError):
        return int(FETCHED.read_bytes())
    return 0


def shared() -> bytes:
    """Read the key that the edges share."""
    try:
        return SHARED.read_bytes()
    except FileNotFoundError:
        raise Failed(
            "not-shared", "this host has no key in common with the edge that obtains the certificate"
        ) from None


def name(secret: bytes) -> str:
    """Name the sealed file so that only who has the key knows it."""
    return PREFIX + hmac.digest(secret, b"the name of the file", "sha256").hex()
