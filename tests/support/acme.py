"""A real ACME server, pebble, whose names all lead to one address of this machine; what it signs nobody else trusts."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, docker

# Debian 12's is too old for profiles and renewal windows
BASE = bases.Base("test-acme", "", "testing", "extract", ("pebble",), recipe="1")
NAME, PORT = "acme.test", 14000
LABEL = "bookreader-ops.test=acme"
PEM, PLAIN = serialization.Encoding.PEM, serialization.NoEncryption()
DAY = 86400


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, in PEM."""

    chain: bytes
    key: bytes


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def signed(
    *names: str, by: Pair | None = None, authority: bool = False, start: timedelta = timedelta(days=-1),
    days: float = 30, rsa_bits: int = 0, key: Key | None = None, purpose: x509.ObjectIdentifier | None = None,
) -> Pair:  # fmt: skip
    """Make a certificate for names, signed by another, or by itself."""
    key = key or (rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1()))
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
    issuer = x509.load_pem_x509_certificate(by.chain).subject if by else subject
    signer = serialization.load_pem_private_key(by.key, None) if by else key
    assert isinstance(signer, Key)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start).not_valid_after(now + start + timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
    )  # fmt: skip
    if not authority:
        alternative = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternative, critical=False)
    if purpose:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    made = builder.sign(
        signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    ).public_bytes(PEM)
    chain = made + (by.chain if by else b"")
    return Pair(chain, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, PLAIN))


@dataclass
class Acme:
    """A server of certificates, and a DNS in which every name is `address`, of this machine."""

    folder: Path
    name: str
    address: str
    http_port: int
    resolver: str = ""  # the DNS' own address

    @property
    def directory(self) -> str:
        """Where clients begin."""
        return f"https://{NAME}:{PORT}/dir"

    @property
    def server(self) -> str:
        """The server's container."""
        return f"{self.name}-server"

    @property
    def names(self) -> str:
        """The DNS' container."""
        return f"{self.name}-dns"

    def dns(self, path: str, **document: object) -> None:
        """Tell the DNS what a name is: `set-default-ipv4`, `add-a`, `set-servfail`."""
        place = f"http://{self.address}:8055/{path}"
        data = json.dumps(document).encode()
        urllib.request.urlopen(urllib.request.Request(place, data), timeout=10).close()

    def root(self) -> str:
        """Return the certificate of whoever signs what it issues; another one each time it starts."""
        return self.managed("roots/0")

    def status_of(self, serial: int) -> str:
        """Return what it says of a certificate: Valid or Revoked."""
        return str(json.loads(self.managed(f"cert-status-by-serial/{serial:x}"))["Status"])

    def managed(self, path: str) -> str:
        """Ask what it tells its keeper alone."""
        trusting = ssl._create_unverified_context()  # noqa: S323  # its own certificate is not what is looked at
        with urllib.request.urlopen(f"https://{self.address}:15000/{path}", timeout=10, context=trusting) as answer:
            return str(answer.read().decode())

    def is_up(self) -> bool:
        """Tell whether both answer."""
        with contextlib.suppress(OSError):
            self.dns("set-default-ipv4", ip=self.address)
            return bool(self.root())
        return False


def logs(container: str) -> str:
    """What a container has printed."""
    ran = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
    return ran.stdout + ran.stderr


def start(acme: Acme, name: str, published: tuple[str, ...], *words: str) -> None:
    """Start one of the programs."""
    ports = [f"--publish={acme.address}:{port}" for port in published]
    options = ["--detach", f"--name={name}", f"--label={LABEL}", f"--network={acme.name}", *ports]
    settings = ["--env=PEBBLE_VA_NOSLEEP=1", "--env=PEBBLE_WFE_NONCEREJECT=0", "--env=PEBBLE_AUTHZREUSE=0"]
    docker("run", *options, *settings, f"--volume={acme.folder}:/acme:ro", BASE.local_tag, *words)


def configure(folder: Path, http_port: int, profiles: Mapping[str, int]) -> None:
    """Write the server's configuration, its own certificate, and the authority that signed that."""
    authority = signed("Authority of the tests", authority=True)
    own = signed(NAME, by=authority)
    for file, data in (("ca.pem", authority.chain), ("own.pem", own.chain), ("own.key", own.key)):
        (folder / file).write_bytes(data)
        (folder / file).chmod(0o644)
    document = {
        "listenAddress": f"0.0.0.0:{PORT}", "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/acme/own.pem", "privateKey": "/acme/own.key", "httpPort": http_port, "tlsPort": 443,
        "ocspResponderURL": "", "externalAccountBindingRequired": False,
        "domainBlocklist": ["blocked.test"],
        "profiles": {name: {"description": name, "validityPeriod": life} for name, life in profiles.items()},
    }  # fmt: skip
    (folder / "pebble.json").write_text(json.dumps({"pebble": document}))


@contextlib.contextmanager
def acme_server(folder: Path, http_port: int = 80, *, subnet: str = "", **profiles: int) -> Iterator[Acme]:
    """Start a server and its DNS on a network of their own, published at an address that no other test has.

    It asks for challenges on `http_port`; `profiles` are further ones, by the seconds that their certificates live.
    `subnet` is for who comes from an engine inside this one, whose own networks may be any that Docker chooses.
    """
    if not bases.present(BASE.local_tag, LocalHost()):
        bases.build(BASE, ROOT, LocalHost())
    name = f"acme{uuid.uuid4().hex[:8]}"
    chosen = [f"--subnet={subnet}", f"--gateway={ip_network(subnet)[1]}"] if subnet else []
    docker("network", "create", f"--label={LABEL}", *chosen, name)
    form = "{{(index .IPAM.Config 0).Gateway}}"
    acme = Acme(folder, name, docker("network", "inspect", "--format", form, name).strip(), http_port)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # others read the authority, under accounts of their own
    configure(folder, http_port, {"default": 90 * DAY, **profiles})
    off = [f"-{listener}=" for listener in ("http01", "https01", "tlsalpn01", "doh")]
    try:
        start(
            acme, acme.names, ("53:53/udp", "8055:8055"), "pebble-challtestsrv", "-dnsserver=:53", "-management=:8055",
            *off, f"-defaultIPv4={acme.address}", "-defaultIPv6=",
        )  # fmt: skip
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        acme.resolver = docker("inspect", "--format", form, acme.names).strip()
        words = ("pebble", "-config=/acme/pebble.json", f"-dnsserver={acme.resolver}:53", "-strict=false")
        start(acme, acme.server, (f"{PORT}:{PORT}", "15000:15000"), *words)
        assert wait_until(acme.is_up, 20), logs(acme.server) + logs(acme.names)
        yield acme
    finally:
        subprocess.run(["docker", "rm", "--force", acme.server, acme.names], capture_output=True)
        subprocess.run(["docker", "network", "rm", name], capture_output=True)
