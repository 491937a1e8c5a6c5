"""Obtain a certificate by certbot, which a server counts, as it does each try that fails."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from argparse import Namespace
from base64 import urlsafe_b64encode
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from asking import DIRECTORY, SECONDS, reason
from lineage import discard_accounts, discard_damaged
from sharing import seal, unshare
from volume import ACME, CHAIN, CHALLENGES, KEY, SHARED, VOLUME, Failed, kept

LOGS = Path("/tmp/certbot")  # noqa: S108  # a tmpfs of this container alone
# what a server answers when it refuses: https://www.rfc-editor.org/rfc/rfc8555#section-6.7
TYPE, DETAIL = re.compile(r"urn:ietf:params:acme:error:(?!badNonce)(\w+)"), re.compile(r'"detail": ("(?:[^"\\]|\\.)*")')
LEAST_BYTES = 1 << 20  # an order must not end at a full disk: it counts, and what came of it is lost


def issue(words: Namespace) -> dict[str, object]:
    """Have certbot obtain a certificate once, by a challenge in the volume; keep what is there then.

    It asks the server when to renew (ARI), else it goes by what is left of the lifetime.
    """
    if (free := shutil.disk_usage(VOLUME).free) < LEAST_BYTES:
        raise Failed("disk-full", f"{free} bytes are free where certificates are kept")
    (CHALLENGES / DIRECTORY).mkdir(parents=True, exist_ok=True)
    if words.probe:
        probe(words.names, words.edge)
    discard_damaged(words.lineage)
    if failed := run(certbot(words)):
        if failed.error != "accountDoesNotExist":
            raise failed
        discard_accounts(words.server)  # it lost them; there is nothing in one but a key
        if failed := run(certbot(words)):
            raise failed
    os.sync()  # certbot has nothing written to the disk by itself
    live = ACME / "live" / words.lineage
    chain, key = (live / CHAIN).read_bytes(), (live / KEY).read_bytes()
    document = kept(chain, key)
    if not words.shared:
        unshare()
    elif SHARED.exists():
        seal(chain, key)
    return document


def run(argv: list[str]) -> Failed | None:
    """Run certbot; return why it failed, None where it did not."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}  # where its plugin is
    ran = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment)
    return refused(ran.stderr.strip() or ran.stdout.strip()) if ran.returncode else None


def certbot(words: Namespace) -> list[str]:
    """Write certbot's command line; a name that is added or taken away makes a new certificate. Pure."""
    account = ["--email", words.email] if words.email else ["--register-unsafely-without-email"]
    profile = ["--required-profile", words.profile] if words.profile else []
    names = [word for name in words.names for word in ("--ip-address" if is_address(name) else "--domain", name)]
    webroot = ["--webroot", f"--webroot-path={CHALLENGES}"]
    dns = ["--authenticator=ops-dns", f"--ops-dns-command={words.dns_hook}"]
    folders = [f"--config-dir={ACME}", f"--work-dir={LOGS}", f"--logs-dir={LOGS}"]
    return [
        str(Path(sys.executable).with_name("certbot")), "certonly", "--non-interactive", "--agree-tos", *account,
        f"--server={words.server}", f"--cert-name={words.lineage}", *(dns if words.dns_hook else webroot),
        *profile, *folders, "--key-type=ecdsa", "--renew-with-new-domains",
        "--force-renewal" if words.now else "--keep-until-expiring", *names,
    ]  # fmt: skip


def is_address(name: str) -> bool:
    """Tell whether a name is an address of IP. Pure."""
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def window(server: str, chain: bytes) -> dict[str, str] | None:
    """Ask a server when it wants a certificate renewed (ARI, RFC 9773); None where it does not say.

    Returns `start` and `end`, as ISO 8601.
    """
    import requests
    from cryptography import x509

    first = x509.load_pem_x509_certificates(chain)[0]
    try:
        signer = first.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
        serial = first.serial_number.to_bytes(first.serial_number.bit_length() // 8 + 1, "big")
        own = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in (signer, serial))
        place = requests.get(server, timeout=SECONDS).json()["renewalInfo"]
        suggested = requests.get(f"{place}/{own}", timeout=SECONDS).json()["suggestedWindow"]
        return {name: str(suggested[name]) for name in ("start", "end")}
    except (x509.ExtensionNotFound, OSError, ValueError, LookupError, TypeError):
        return None


def refused(printed: str) -> Failed:
    """Say why no certificate came: by the server's own words where it answered, else by certbot's."""
    log = LOGS / "letsencrypt.log"
    text = log.read_text(errors="replace") if log.exists() else ""
    types, details = TYPE.findall(text), DETAIL.findall(text)
    full = os.strerror(errno.ENOSPC) in text + printed
    error = "disk-full" if full else types[-1] if types else "certbot"
    return Failed(error, json.loads(details[-1]) if types and details and not full else printed)


def probe(names: list[str], edges: list[str]) -> None:
    """Ask by each name for a challenge of our own, as the server will, which counts tries that fail.

    Where a name leads to several edges, the server may ask any of them: each is asked by its address too.
    """
    token = secrets.token_urlsafe(16)
    file = CHALLENGES / DIRECTORY / f"ops-{token}"
    file.write_text(token)
    try:
        answers = {name: reason(f"http://{name}/{DIRECTORY}/{file.name}", token) for name in names}
        answers |= {edge: reason(f"{edge}/{DIRECTORY}/{file.name}", token, names[0]) for edge in edges}
    finally:
        file.unlink()
    if problems := [f"{name}: {text}" for name, text in answers.items() if text]:
        raise Failed("unreachable", "\n".join(problems))
