"""Whether the edge serves valid certificates, asked as visitors do."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

from deploy.core.errors import OpsError
from deploy.hosts.stream import Stream, directly
from deploy.incidents.gates import NOW, Gate

NAME, THEN = "certificates valid", "inv tls.check"
ANY = "any"  # a name that a wildcard stands for
CHUNK = 1 << 14  # bytes, a record of TLS
WITHIN = 5  # seconds for an answer
Connect = Callable[[str, int, float], Stream]
LEFT = timedelta(days=2)  # less is not enough to renew it by hand


def valid(
    names: Sequence[str], addresses: Sequence[str], port: int, now: datetime, authorities: Path | None = None,
    connect: Connect = directly,
) -> Gate:  # fmt: skip
    """Ask the TLS port of every edge for the certificate of every name, and judge the worst; no names: TLS is off.

    `authorities` is a file of certificates that are trusted besides the machine's own; `connect` leads to addresses.
    """
    if not names:
        return Gate(NAME, "UNKNOWN", "TLS is off: the edge speaks plain HTTP", then="docs/how-to/tls.md")
    trusted, ends, wrong, silent = ssl.create_default_context(), list[datetime](), list[str](), list[str]()
    if authorities:
        trusted.load_verify_locations(authorities)
    for name, address in product(names, addresses):
        try:
            with closing(connect(address, port, WITHIN)) as stream:
                ends.append(end_of(trusted, name.replace("*", ANY), stream))
        except ssl.SSLError as error:  # an untrusted certificate, or a name that the edge lets in nowhere
            wrong.append(f"{name}: {getattr(error, 'verify_message', '') or error.reason or error}")
        except (OpsError, OSError) as error:  # the gateway may be what is not reached
            reason = getattr(error, "strerror", "") or error
            silent.append(f"{name}: nothing is served at {address}:{port} ({reason})")
    wrong += [f"its end is near: {end:%Y-%m-%d %H:%M} UTC" for end in ends if end - now < LEFT]
    if wrong or silent:
        return Gate(NAME, "FAIL" if wrong else "UNKNOWN", "; ".join([*wrong, *silent]), NOW, THEN)
    return Gate(NAME, "PASS", f"{', '.join(names)}, until {min(ends):%Y-%m-%d %H:%M} UTC", NOW)


def end_of(trusted: ssl.SSLContext, name: str, stream: Stream) -> datetime:
    """Return when the certificate ends that is served for a name; raise what keeps it from being trusted.

    A channel of SSH is no socket that could be wrapped, so the handshake goes over buffers.
    """
    received, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    own = trusted.wrap_bio(received, sent, server_hostname=name)
    while (certificate := greeted(own)) is None:
        stream.sendall(sent.read())
        if data := stream.recv(CHUNK):
            received.write(data)
        else:
            received.write_eof()
    stream.sendall(sent.read())
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)


def greeted(own: ssl.SSLObject) -> dict[str, object] | None:
    """Go on with a handshake; return the certificate once it is done, None while more must come."""
    try:
        own.do_handshake()
    except ssl.SSLWantReadError:
        return None
    return dict(own.getpeercert() or {})
