"""Certificates of an edge, in a volume: obtained by certbot or installed, kept by version, one of them served.

Usage: certificates.py PROGRAM [WORD...]. Each prints one JSON document; with exit code 1 it has `error` and `detail`.

  install               keep the fullchain.pem and privkey.pem of a tar on stdin
  temporary NAME...     serve a self-signed certificate where none is served
  issue NAME...         have certbot obtain a certificate, unless one for these names is there and is not due
  share                 keep the key on stdin, which the edges with one certificate have in common
  follow NAME           fetch what another edge obtained and sealed for that key
  select VERSION        serve another version that is kept
  status                print what is served
  handshake NAME        print what the edge serves under a name
"""

from __future__ import annotations

import errno
import json
import shutil
import socket
import ssl
import sys
import tarfile
import time
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from obtain import issue, window
from sharing import follow, share
from volume import CHAIN, CHALLENGES, KEY, SERVED, TEMPORARY, VERSIONS, Failed, keep, kept, link, served

PROOFS, YEARS, HANDSHAKE_SECONDS = 3, timedelta(days=3650), 5
TRIES = 4  # that hang, at least, until an edge does not serve in time


def install(_: Namespace) -> dict[str, object]:
    """Keep what came in a tar on stdin."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        files = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    if {CHAIN, KEY} - files.keys():
        raise Failed("incomplete", f"{CHAIN} and {KEY} are needed; there came {', '.join(files) or 'nothing'}")
    return kept(files[CHAIN], files[KEY])


def select(words: Namespace) -> dict[str, object]:
    """Serve a version; of the others the one that was served before stays, and may be gone back to."""
    former = served()
    if not (VERSIONS / words.version / CHAIN).exists():
        raise Failed("version-unknown", f"there is no version {words.version}")
    link(words.version)
    for folder in VERSIONS.iterdir():
        if folder.name not in (words.version, former):
            shutil.rmtree(folder)
    return {"version": words.version, "former": former}


def temporary(words: Namespace) -> dict[str, object]:
    """Serve a self-signed certificate where none is served: nginx does not start without one."""
    CHALLENGES.mkdir(exist_ok=True)
    if there := served():
        return {"version": there, "made": False}
    shutil.rmtree(VERSIONS / TEMPORARY, ignore_errors=True)
    link(keep(*self_signed(words.names), TEMPORARY))
    return {"version": TEMPORARY, "made": True}


def self_signed(names: list[str]) -> tuple[bytes, bytes]:
    """Make a certificate that nobody trusts, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "temporary")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + YEARS)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    return certificate.public_bytes(pem), key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password)


def handshake(words: Namespace) -> dict[str, object]:
    """Shake hands with the edge; with --until again and again, `within` seconds, until it serves that version.

    Without --within it is asked once.
    """
    expected = (VERSIONS / words.until / CHAIN).read_text() if words.until else ""
    expected = expected[: expected.find("-----END") + len("-----END CERTIFICATE-----")]
    deadline, in_a_row, began = time.monotonic() + words.within, 0, time.monotonic()
    each = min(HANDSHAKE_SECONDS, words.within / TRIES) if words.within else HANDSHAKE_SECONDS
    while True:
        try:
            pem, trouble = presented(words.names[0], (words.address, words.port), each), ""
        except OSError as error:
            pem, trouble = "", str(error)
        in_a_row = in_a_row + 1 if pem and (not expected or pem.strip() == expected.strip()) else 0
        if in_a_row == (PROOFS if expected and words.within else 1):
            return {"certificate": pem, "seconds": round(time.monotonic() - began, 2)}
        if time.monotonic() > deadline:
            raise Failed("not-served", trouble or "another certificate is served")
        time.sleep(0.05)


def presented(name: str, place: tuple[str, int], seconds: float) -> str:
    """Return the certificate that a place serves under a name; nothing of it is verified."""
    context = ssl._create_unverified_context()  # noqa: S323  # the serial is what counts: it may be self-signed
    with (
        socket.create_connection(place, timeout=seconds) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


def status(words: Namespace) -> dict[str, object]:
    """Print what is served, and when the server that issued it wants it renewed."""
    version = served()
    chain = (SERVED / CHAIN).read_bytes() if version else b""
    mode = oct((SERVED / KEY).stat().st_mode & 0o777) if version else ""
    asked = window(words.server, chain) if version and words.server else None
    return {"version": version, "chain": chain.decode(), "mode": mode, "window": asked}


PROGRAMS = {
    "install": install, "temporary": temporary, "issue": issue, "select": select, "status": status,
    "handshake": handshake, "share": share, "follow": follow,
}  # fmt: skip


def read(argv: list[str]) -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(prog="certificates.py")
    programs = parser.add_subparsers(dest="program", required=True)
    for name in PROGRAMS:
        own = programs.add_parser(name)
        if name in ("temporary", "issue", "follow", "handshake"):
            own.add_argument("names", nargs="+")
        if name == "select":
            own.add_argument("version")
        if name in ("issue", "status"):
            own.add_argument("--server", default="")
        if name == "issue":
            for option in ("lineage", "email", "profile", "dns-hook"):
                own.add_argument(f"--{option}", default="")
            own.add_argument("--now", action="store_true")
            own.add_argument("--probe", action="store_true")
            own.add_argument("--shared", action="store_true")
            own.add_argument("--edge", action="append", default=[])
        if name == "share":
            own.add_argument("--seal", action="store_true")
        if name == "follow":
            own.add_argument("--source", required=True)
        if name == "handshake":
            own.add_argument("--address", default="edge")
            own.add_argument("--port", type=int, default=8443)
            own.add_argument("--until", default="")
            own.add_argument("--within", type=float, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    words, code = read(sys.argv[1:]), 1
    try:
        document, code = PROGRAMS[words.program](words), 0
    except Failed as failed:
        document = {"error": failed.error, "detail": failed.detail}
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        document = {"error": "disk-full" if full else "failed", "detail": str(error)}
    with suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()
    sys.exit(code)
