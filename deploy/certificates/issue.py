"""Have every edge serve the certificate that the settings name: one of a person's own, or one from an ACME server."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.fernet import Fernet

from deploy.certificates import model, schedule
from deploy.certificates.serve import is_presented, serve
from deploy.certificates.store import Store, Version, require_tls, stores_of
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting, refuse
from deploy.edge import frame
from deploy.hosts.host import Host
from deploy.site.locked import locked

AGAIN = "then inv tls.issue"
CONNECT_SECONDS = 5
OWN_ALONE = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Served:
    """What an edge serves: whether that is new, and after how many seconds a handshake showed it."""

    host: str
    certificate: model.Certificate
    changed: bool
    seconds: float

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        own = self.certificate
        return {
            "host": self.host, "changed": self.changed, "seconds": self.seconds, "serial": f"{own.serial:x}",
            "names": own.names, "issuer": own.issuer, "not_after": own.not_after.isoformat(), "staging": own.staging,
        }  # fmt: skip


def issue(at: Environment, *, now: bool = False, unprobed: bool = False) -> tuple[Served, ...]:
    """Obtain or install the certificate and serve it on every edge; where it is there and not due nothing changes.

    With `now` a server is asked for another one in any case; `unprobed` asks for no challenge of our own before.

    Raises Refused with all that is wrong with a certificate of one's own, OpsError where a server gives none.
    """
    require_tls(at.settings)
    pair = own_pair(at.settings) if at.settings.tls.by == "file" else None
    stores = stores_of(at)
    if pair:
        with locked(at, "tls.issue"):
            return tuple(install(store, *pair) for store in stores)
    issuer, *followers = issuer_first(at, stores)
    with locked(at, "tls.issue"):
        obtained = obtain(issuer, now=now, unprobed=unprobed)
        return (obtained, *deliver(issuer, followers))


def issue_first(at: Environment, *, now: bool = False, unprobed: bool = False) -> tuple[Served, ...]:
    """Issue, and have the host renew by itself as the settings are now; warn where it cannot.

    A timer from before would go on by former settings: serve a certificate for tries, or the server's for one's own.
    """
    served = issue(at, now=now, unprobed=unprobed)
    for store in stores_of(at):
        name = store.run.host.name
        if closed := closed_port(at.settings, store.run.host):
            console.warn(acting(closed, at.settings.env))
        try:
            if at.settings.tls.by == "acme":
                console.say(schedule.install(store))
            elif schedule.remove_from(at.settings, store.run.host):
                console.say(f"{name} renews no certificate by itself any more: this one is your own")
        except Refused as error:
            console.warn(acting(f"the timer of {name} is not what tls.by asks for: {error.what}; {error.then}, "
                                "then inv tls.issue", at.settings.env))  # fmt: skip
    return served


def closed_port(settings: Settings, host: Host) -> str:
    """Say where visitors are sent and nothing answers us; empty where something does, or nobody is sent there."""
    server = settings.hosts.get(host.name)
    if not server or not frame.has_real_certificate(settings.tls):
        return ""
    try:
        host.connect(server.address, settings.edge.tls_port, CONNECT_SECONDS).close()
    except (OpsError, OSError) as error:
        place, why = f"{server.address}:{settings.edge.tls_port}", getattr(error, "strerror", "") or error
        firewall = "where the firewall of inv hosts.provision is in the way, that command opens the port"
        return f"{host.name}: visitors are sent to HTTPS, and nothing answers at {place} from here ({why}); {firewall}"
    return ""


def issuer_first(at: Environment, stores: tuple[Store, ...]) -> tuple[Store, ...]:
    """Put the edge that obtains the certificate in front of those that follow it; refuse where it keeps none yet."""
    own = [store for store in stores if not store.follows]
    if len(own) == 1:
        return (*own, *(store for store in stores if store.follows))
    what = f"{at.settings.issuer} has the first edge, which obtains the certificate for all, and keeps none yet"
    raise Refused(what, where=at.settings.env, then="inv deploy", slug="no-certificates-service")


def own_pair(settings: Settings) -> tuple[bytes, bytes]:
    """Read a person's certificate and key; raise Refused with all that is wrong with them."""
    chain, key = (settings.root / Path(path).expanduser() for path in (settings.tls.certificate, settings.tls.key))
    title, where = "the certificate cannot be served:", f"{chain}, {key}"
    then = f"bring one that is right, {AGAIN}"
    try:
        texts = chain.read_bytes(), key.read_bytes()
    except OSError as error:
        reasons = [f"{error.filename} cannot be read: {error.strerror}"]
    else:
        reasons = model.mistakes(*texts, settings.tls_names, datetime.now(UTC))
        secret = {key, chain} if model.KEY in texts[0] else {key}
        reasons += [f"others may read {path}: chmod 600 {path}" for path in secret if path.stat().st_mode & OWN_ALONE]
    refuse(title, reasons, where=where, then=then, slug="certificate-invalid")
    return model.certificates_of(texts[0]), texts[1]


def install(store: Store, chain: bytes, key: bytes) -> Served:
    """Install a person's certificate on one edge, and serve it."""
    with console.step(f"{store.run.host.name}: install the certificate"):
        version = store.install(chain, key)
    return served(store, version)


def obtain(store: Store, *, now: bool, unprobed: bool) -> Served:
    """Obtain a certificate from the server, once, where none is there or it is due; serve it."""
    with console.step(f"obtain a certificate for {', '.join(store.run.settings.tls_names)}, where it is due"):
        version = store.issue(now=now, probe=not unprobed)
    return served(store, version)


def deliver(issuer: Store, followers: Sequence[Store]) -> Iterator[Served]:
    """Have the other edges serve what one obtained: each gets a new key, by which its timer then fetches renewals."""
    secret = Fernet.generate_key()
    for store in (issuer, *followers) if followers else ():
        with console.step(f"{store.run.host.name}: keep the key that the edges share"):
            store.share(secret)
    for store in followers:
        with console.step(f"{store.run.host.name}: fetch the certificate of {issuer.run.host.name}"):
            version = store.follow()
        yield served(store, version)


def served(store: Store, version: Version) -> Served:
    """Serve a version, unless a handshake shows that the edge serves it."""
    with console.step(f"{store.run.host.name}: serve it, prove it by a handshake"):
        changed = not is_presented(store, version)
        seconds = serve(store, version.name) if changed else 0.0
    return Served(store.run.host.name, version.certificate, changed, seconds)
