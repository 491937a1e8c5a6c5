"""Whether the edge serves valid certificates, asked as visitors do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

from deploy.incidents.gates import NOW, Gate

NAME, THEN = "certificates valid", "inv tls.check"
ANY = "any"  # a name that a wildcard stands for
WITHIN = 5  # seconds for an answer
LEFT = timedelta(days=2)  # less is not enough to renew it by hand


def valid(
    names: Sequence[str], addresses: Sequence[str], port: int, now: datetime, authorities: Path | None = None
) -> Gate:  # fmt: skip
    """Ask the TLS port of every edge for the certificate of every name, and judge the worst; no names: TLS is off.

    `authorities` is a file of certificates that are trusted besides the machine's own.
    """
    if not names:
        return Gate(NAME, "UNKNOWN", "TLS is off: the edge speaks plain HTTP", then="docs/how-to/tls.md")
    trusted, ends, wrong, silent = ssl.create_default_context(), list[datetime](), list[str](), list[str]()
    if authorities:
        trusted.load_verify_locations(authorities)
    for name, address in product(names, addresses):
        try:
            ends.append(end_of(trusted, name.replace("*", ANY), address, port))
        except ssl.SSLError as error:  # an untrusted certificate, or a name that the edge lets in nowhere
            wrong.append(f"{name}: {getattr(error, 'verify_message', '') or error.reason or error}")
        except OSError as error:
            silent.append(f"{name}: nothing is served at {address}:{port} ({error.strerror or error})")
    wrong += [f"its end is near: {end:%Y-%m-%d %H:%M} UTC" for end in ends if end - now < LEFT]
    if wrong or silent:
        return Gate(NAME, "FAIL" if wrong else "UNKNOWN", "; ".join([*wrong, *silent]), NOW, THEN)
    return Gate(NAME, "PASS", f"{', '.join(names)}, until {min(ends):%Y-%m-%d %H:%M} UTC", NOW)


def end_of(trusted: ssl.SSLContext, name: str, address: str, port: int) -> datetime:
    """Return when the certificate ends that is served for a name; raise what keeps it from being trusted."""
    with (
        socket.create_connection((address, port), WITHIN) as connection,
        trusted.wrap_socket(connection, server_hostname=name) as served,
    ):
        certificate = served.getpeercert() or {}
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
