"""Certificates of an edge, in a volume: obtained by certbot or installed, kept by version, one of them served.

Usage: certificates.py PROGRAM [WORD...]. Each prints one JSON document; with exit code 1 it has `error` and `detail`.

  install               keep the fullchain.pem and privkey.pem of a tar on stdin
  temporary NAME...     serve a self-signed certificate where none is served
  issue NAME...         have certbot obtain a certificate, unless one for these names is there and is not due
  select VERSION        serve another version that is kept
  status                print what is served
  handshake NAME        print what the edge serves under a name
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from argparse import ArgumentParser, Namespace
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urljoin, urlsplit

VOLUME = Path(os.environ.get("CERTIFICATES", "/certificates"))
SERVED, VERSIONS, ACME, CHALLENGES = (VOLUME / name for name in ("served", "versions", "acme", "challenges"))
CHAIN, KEY, TEMPORARY, PART = "fullchain.pem", "privkey.pem", "temporary", ".part"
DIRECTORY, LOGS = ".well-known/acme-challenge", Path("/tmp/certbot")  # noqa: S108  # a tmpfs of this container alone
# what a server answers when it refuses: https://www.rfc-editor.org/rfc/rfc8555#section-6.7
TYPE, DETAIL = re.compile(r"urn:ietf:params:acme:error:(?!badNonce)(\w+)"), re.compile(r'"detail": "(.+)"')
LEAST_BYTES = 1 << 20  # an order must not end at a full disk: it counts, and what came of it is lost
REDIRECTS, PROOFS, YEARS = 5, 3, timedelta(days=3650)
PROBE_SECONDS, HANDSHAKE_SECONDS = 10, 5


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
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(part / CHAIN, part / KEY, password="")
        part.rename(VERSIONS / version)
        sync(VERSIONS)
    except ssl.SSLError as error:
        raise Failed("key-mismatch", f"the key does not belong to the certificate: {error.reason}") from None
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


def install(_: Namespace) -> dict[str, object]:
    """Keep what came in a tar on stdin."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        files = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    if {CHAIN, KEY} - files.keys():
        raise Failed("incomplete", f"{CHAIN} and {KEY} are needed; there came {', '.join(files) or 'nothing'}")
    return kept(files[CHAIN], files[KEY])


def link(version: str) -> None:
    """Serve a version from the next reload on."""
    part = SERVED.with_name(f"{SERVED.name}{PART}")
    part.unlink(missing_ok=True)
    part.symlink_to(f"{VERSIONS.name}/{version}")
    part.rename(SERVED)
    sync(VOLUME)


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


def issue(words: Namespace) -> dict[str, object]:
    """Have certbot obtain a certificate once, by a challenge in the volume; keep what is there then.

    It asks the server when to renew (ARI), else it goes by what is left of the lifetime.
    """
    if (free := shutil.disk_usage(VOLUME).free) < LEAST_BYTES:
        raise Failed("disk-full", f"{free} bytes are free where certificates are kept")
    (CHALLENGES / DIRECTORY).mkdir(parents=True, exist_ok=True)
    if words.probe:
        probe(words.names)
    ran = subprocess.run(certbot(words), capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ran.returncode:
        raise refused(ran.stderr.strip() or ran.stdout.strip())
    lineage = ACME / "live" / words.lineage
    return kept((lineage / CHAIN).read_bytes(), (lineage / KEY).read_bytes())


def certbot(words: Namespace) -> list[str]:
    """Write certbot's command line; a name that is added or taken away makes a new certificate. Pure."""
    account = ["--email", words.email] if words.email else ["--register-unsafely-without-email"]
    profile = ["--required-profile", words.profile] if words.profile else []
    names = [word for name in words.names for word in ("--domain", name)]
    folders = [f"--config-dir={ACME}", f"--work-dir={LOGS}", f"--logs-dir={LOGS}"]
    return [
        str(Path(sys.executable).with_name("certbot")), "certonly", "--non-interactive", "--agree-tos", *account,
        f"--server={words.server}", f"--cert-name={words.lineage}", "--webroot", f"--webroot-path={CHALLENGES}",
        *profile, *folders, "--key-type=ecdsa", "--renew-with-new-domains",
        "--force-renewal" if words.now else "--keep-until-expiring", *names,
    ]  # fmt: skip


def refused(printed: str) -> Failed:
    """Say why no certificate came: by the server's own words where it answered, else by certbot's."""
    log = LOGS / "letsencrypt.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    types, details = TYPE.findall(text), DETAIL.findall(text)
    full = os.strerror(errno.ENOSPC) in text + printed
    error = "disk-full" if full else types[-1] if types else "certbot"
    return Failed(error, details[-1] if types and details and not full else printed)


def probe(names: list[str]) -> None:
    """Ask by each name for a challenge of our own, as the server will, which counts tries that fail."""
    token = secrets.token_urlsafe(16)
    file = CHALLENGES / DIRECTORY / f"ops-{token}"
    file.write_text(token)
    try:
        answers = {name: reason(f"http://{name}/{DIRECTORY}/{file.name}", token) for name in names}
    finally:
        file.unlink()
    if problems := [f"{name}: {text}" for name, text in answers.items() if text]:
        raise Failed("unreachable", "\n".join(problems))


def reason(url: str, token: str) -> str:
    """Say why an address does not answer with a token; empty where it does."""
    try:
        for _ in range(REDIRECTS):
            status, location, body = get(url)
            if status not in (301, 302, 303, 307, 308):
                return "" if body.strip() == token else f"{url} answers {status}, and not with what is in the volume"
            url = urljoin(url, location)
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {error or type(error).__name__}"
    return f"{url} redirects again and again"


def get(url: str) -> tuple[int, str, str]:
    """Ask once, whatever proxy the environment names; a certificate is not judged, since there may be none yet."""
    parts = urlsplit(url)
    context = ssl._create_unverified_context()  # noqa: S323  # as the servers of ACME do
    connection = (
        http.client.HTTPSConnection(parts.netloc, timeout=PROBE_SECONDS, context=context)
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.netloc, timeout=PROBE_SECONDS)
    )
    try:
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
        answer = connection.getresponse()
        return answer.status, answer.getheader("Location", ""), answer.read(4096).decode(errors="replace")
    finally:
        connection.close()


def handshake(words: Namespace) -> dict[str, object]:
    """Shake hands with the edge; with --until again and again, `within` seconds, until it serves that version."""
    expected = (VERSIONS / words.until / CHAIN).read_text() if words.until else ""
    expected = expected[: expected.find("-----END") + len("-----END CERTIFICATE-----")]
    deadline, in_a_row, began = time.monotonic() + words.within, 0, time.monotonic()
    while True:
        try:
            pem, trouble = presented(words.names[0], words.address, words.port), ""
        except OSError as error:
            pem, trouble = "", str(error)
        in_a_row = in_a_row + 1 if pem and (not expected or pem.strip() == expected.strip()) else 0
        if in_a_row == (PROOFS if expected else 1):
            return {"certificate": pem, "seconds": round(time.monotonic() - began, 2)}
        if time.monotonic() > deadline:
            raise Failed("not-served", trouble or "another certificate is served")
        time.sleep(0.05)


def presented(name: str, address: str, port: int) -> str:
    """Return the certificate that an address serves under a name; nothing of it is verified."""
    context = ssl._create_unverified_context()  # noqa: S323  # the serial is what counts: it may be self-signed
    with (
        socket.create_connection((address, port), timeout=HANDSHAKE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        return ssl.DER_cert_to_PEM_cert(secure.getpeercert(binary_form=True) or b"")


def status(_: Namespace) -> dict[str, object]:
    """Print what is served."""
    version = served()
    mode = oct((SERVED / KEY).stat().st_mode & 0o777) if version else ""
    return {"version": version, "chain": (SERVED / CHAIN).read_text() if version else "", "mode": mode}


PROGRAMS = {
    "install": install, "temporary": temporary, "issue": issue, "select": select, "status": status,
    "handshake": handshake,
}  # fmt: skip


def read(argv: list[str]) -> Namespace:
    """Read the command line."""
    parser = ArgumentParser(prog="certificates.py")
    programs = parser.add_subparsers(dest="program", required=True)
    for name in PROGRAMS:
        own = programs.add_parser(name)
        if name in ("temporary", "issue", "handshake"):
            own.add_argument("names", nargs="+")
        if name == "select":
            own.add_argument("version")
        if name == "issue":
            for option in ("server", "lineage", "email", "profile"):
                own.add_argument(f"--{option}", default="")
            own.add_argument("--now", action="store_true")
            own.add_argument("--probe", action="store_true")
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
