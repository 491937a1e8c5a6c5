"""What a certificate says, what is wrong with one, and when it is due. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

SHORT = timedelta(days=10)  # what lives for less is renewed at half of its life, all else when a third is left
KEY = b"PRIVATE KEY-----"
BEGIN = b"-----BEGIN CERTIFICATE-----"
# the keys that browsers take: CA/Browser Forum, Baseline Requirements 6.1.5
RSA_BITS, CURVES = 2048, (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
STAGING = "(STAGING)"  # stands in the name of whoever signs for Let's Encrypt's staging server


@dataclass(frozen=True)
class Certificate:
    """One certificate: for which names, from when to when, by whom."""

    names: tuple[str, ...]
    serial: int
    not_before: datetime
    not_after: datetime
    issuer: str
    self_signed: bool = False

    @property
    def staging(self) -> bool:
        """Tell whether it is one for tries, which no browser trusts."""
        return STAGING in self.issuer

    @property
    def lifetime(self) -> timedelta:
        """How long it is good for."""
        return self.not_after - self.not_before

    def covers(self, name: str) -> bool:
        """Tell whether it is for a name; a wildcard stands for one label."""
        rest = name.partition(".")[2]
        return name.lower() in self.names or (bool(rest) and f"*.{rest}".lower() in self.names)


@dataclass(frozen=True)
class Window:
    """When a server asks for a renewal (ARI, https://www.rfc-editor.org/rfc/rfc9773)."""

    start: datetime
    end: datetime


def window_of(document: Mapping[str, str] | None) -> Window | None:
    """Read when a server asks for a renewal; None where it does not say."""
    return Window(*(datetime.fromisoformat(document[name]) for name in ("start", "end"))) if document else None


def due(certificate: Certificate, window: Window | None, now: datetime) -> bool:
    """Tell whether a certificate is to be renewed: once the server asks for it, else by what is left of its life.

    As certbot does it: at half of a life below ten days, else when a third is left; never by a number of days.
    """
    return now >= (window.start if window else renewal_time(certificate))


def renewal_time(certificate: Certificate) -> datetime:
    """Tell from when on a certificate is due where no server says so."""
    left = certificate.lifetime / (2 if certificate.lifetime < SHORT else 3)
    return certificate.not_after - left


def overdue(certificate: Certificate, window: Window | None, now: datetime) -> bool:
    """Tell whether a renewal that is due was missed for long: the server's window, or half of the time, is over."""
    start = renewal_time(certificate)
    end = window.end if window else start + (certificate.not_after - start) / 2
    return due(certificate, window, now) and now >= end


def read(pem: str | bytes) -> tuple[x509.Certificate, ...]:
    """Read the certificates of a PEM file in their order; raise ValueError where there is none."""
    return tuple(x509.load_pem_x509_certificates(pem.encode() if isinstance(pem, str) else pem))


def certificates_of(pem: bytes) -> bytes:
    """Return the certificates of a PEM file and nothing else, which may be a key."""
    return b"".join(own.public_bytes(serialization.Encoding.PEM) for own in read(pem))


def describe(certificate: x509.Certificate) -> Certificate:
    """Say what one certificate is."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [name.lower() for name in alternative.get_values_for_type(x509.DNSName)]
        names += [str(address) for address in alternative.get_values_for_type(x509.IPAddress)]
    except x509.ExtensionNotFound:
        names = []
    before, after = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    issuer = certificate.issuer.rfc4514_string()
    own = certificate.issuer == certificate.subject
    return Certificate(tuple(names), certificate.serial_number, before, after, issuer, own)


def leaf(pem: str) -> Certificate:
    """Say what the first certificate of a PEM file is."""
    return describe(read(pem)[0])


def mistakes(chain: bytes, key: bytes, names: Sequence[str], now: datetime) -> list[str]:
    """Name all that is wrong with a certificate and its key; empty where it can be served."""
    try:
        certificates = read(chain)
    except ValueError:
        return ["the certificate is none in PEM: it must hold BEGIN CERTIFICATE, the server's own first"]
    first = certificates[0]
    return [
        *cut_off(chain, certificates), *unfit(describe(first), names, now), *not_for_servers(first),
        *unlinked(certificates, now), *unmatched(first, key),
    ]  # fmt: skip


def cut_off(chain: bytes, certificates: Sequence[x509.Certificate]) -> Iterator[str]:
    """Say that a file ends within a certificate, which is read as if it were not there."""
    if chain.count(BEGIN) > len(certificates):
        yield f"the file is cut off: {chain.count(BEGIN)} certificates begin in it, and {len(certificates)} are whole"


def unfit(certificate: Certificate, names: Sequence[str], now: datetime) -> Iterator[str]:
    """Name what is wrong with a certificate by itself."""
    if now >= certificate.not_after:
        yield f"it expired at {when(certificate.not_after)}"
    if now < certificate.not_before:
        yield f"it is not valid before {when(certificate.not_before)}, and it is {when(now)} here"
    if lacking := [name for name in names if not certificate.covers(name)]:
        yield f"it is not for {', '.join(lacking)}; its names are {', '.join(certificate.names) or '(none)'}"


def not_for_servers(certificate: x509.Certificate) -> Iterator[str]:
    """Say why browsers take no server that has this certificate: its purpose, its key, or how it is signed."""
    with suppress(x509.ExtensionNotFound):
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {*purposes}:
            yield "it is not for servers: its extended key usage lacks serverAuth"
    key = certificate.public_key()
    fits = isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS
    if not fits and not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES)):
        yield f"browsers refuse its key: it must be RSA of {RSA_BITS} bits and more, or ECDSA on P-256, P-384 or P-521"
    if isinstance(certificate.signature_hash_algorithm, hashes.MD5 | hashes.SHA1):
        yield f"browsers refuse what is signed with {certificate.signature_hash_algorithm.name.upper()}"


def unlinked(certificates: Sequence[x509.Certificate], now: datetime) -> Iterator[str]:
    """Name what is wrong with a chain: each must be signed by the next, and the last by somebody who is not missing.

    Whether a further intermediate is missing after the last cannot be seen: roots are left out of chains.
    """
    for at, (own, signer) in enumerate(pairwise(certificates), 1):
        try:
            own.verify_directly_issued_by(signer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            yield f"certificate {at} of the file is not signed by the one after it: the server's own comes first"
    for at, signer in enumerate(certificates[1:], 2):
        yield from (
            f"certificate {at} of the file, {signer.subject.rfc4514_string()}, {why}" for why in unable(signer, now)
        )
    first = certificates[0]
    if len(certificates) == 1 and first.issuer != first.subject:
        issuer = first.issuer.rfc4514_string()
        yield f"the chain is incomplete: the certificate of {issuer} must follow; browsers may not have it"


def unable(signer: x509.Certificate, now: datetime) -> Iterator[str]:
    """Say why a certificate of a chain signs for nobody: its time, or that it is no authority's."""
    if now >= signer.not_valid_after_utc:
        yield f"expired at {when(signer.not_valid_after_utc)}"
    if now < signer.not_valid_before_utc:
        yield f"is not valid before {when(signer.not_valid_before_utc)}"
    try:
        is_authority = signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = signer.issuer == signer.subject  # old roots say nothing
    if not is_authority:
        yield "is no authority's: clients take nothing that it signed"


def unmatched(certificate: x509.Certificate, key: bytes) -> Iterator[str]:
    """Name what is wrong with a key."""
    try:
        private = serialization.load_pem_private_key(key, password=None)
    except TypeError:
        yield "the key is encrypted: the edge starts without a person who knows its password"
        return
    except (ValueError, UnsupportedAlgorithm):
        yield "the key is none in PEM"
        return
    if public(private.public_key()) != public(certificate.public_key()):
        yield "the key does not belong to the certificate"


def public(key: object) -> bytes:
    """Write a public key down, by which two are compared."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.DER, spki)  # type: ignore[attr-defined, no-any-return]  # any kind


def when(time: datetime) -> str:
    """Write a time down."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
