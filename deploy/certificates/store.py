"""The certificates of one edge: each thing that is done with them is one command in a container of its own."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from deploy.certificates import model
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import Locked, OpsError, Refused
from deploy.core.facts import Facts
from deploy.core.model import ReleasedService
from deploy.core.shell import Command, docker
from deploy.edge import frame
from deploy.site.facts import observe, observe_all
from deploy.site.run import Run, standing, standing_on

SERVERS = {
    "staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "production": "https://acme-v02.api.letsencrypt.org/directory",
}
CHAIN, KEY = "fullchain.pem", "privkey.pem"
BEFORE = "the certificate that was served before"
ISSUE_SECONDS = 600
RECORD_SECONDS = 300  # that a hook may take to add a record of the DNS and remove it: docker/certificates/ops_dns.py


@dataclass(frozen=True)
class Answer:
    """What an answer that is no certificate means to a person, in front of the answer's own words, and what is next."""

    slug: str
    then: str
    words: str = ""


# what a server answers by: https://www.rfc-editor.org/rfc/rfc8555#section-6.7
OTHER = Answer(slug="tls-failed", then="fix that, then inv tls.issue")
ANSWERS = {
    "rateLimited": Answer(
        slug="tls-rate-limited",
        then="wait until the time that it names, each try before that may count as well; to try things out "
        'tls.server = "staging", which has limits of its own',
        words="the server issues no more for now, it has limits: ",
    ),
    "unreachable": Answer(
        slug="challenge-unreachable",
        then="fix DNS, port 80 or what stands before the edge, then inv tls.issue; where this host alone cannot reach "
        "its own name, inv tls.issue --unprobed",
        words="not every name leads to this edge on port 80, so no certificate was asked for:\n    ",
    ),
    "not-fetched": Answer(
        slug="certificate-not-fetched",
        then="let this host reach that one's edge.port; on a host that has just come inv deploy; then inv tls.issue",
        words="this edge did not get the certificate from the one that obtains it: ",
    ),
    "not-shared": Answer(slug="certificate-not-fetched", then="inv tls.issue"),
    "key-mismatch": Answer(
        slug="certificate-invalid", then="bring the key that belongs to the certificate, then inv tls.issue"
    ),
    "not-taken": Answer(slug="certificate-invalid", then="bring another certificate, then inv tls.issue"),
    "disk-full": Answer(
        slug="disk-full",
        then="inv disk says where the space went; then inv tls.issue",
        words="the disk is full: ",
    ),
    "dns": replace(OTHER, then="let the A and AAAA records of every name lead to this edge, then inv tls.issue"),
    "connection": replace(
        OTHER, then="let every name lead to this edge, open its port 80 to everybody, then inv tls.issue"
    ),
    "unauthorized": replace(OTHER, then="let every name lead to this edge and to no other server, then inv tls.issue"),
    "caa": replace(OTHER, then="let the CAA records of the names allow this server, then inv tls.issue"),
    "rejectedIdentifier": replace(OTHER, then="the server issues nothing for such a name: change tls.names"),
    "malformed": replace(OTHER, then="inv tls.check; then fix tls.names, or tls.profile, and inv tls.issue"),
}

# where a server did not find what proves a name
OF_NAMES = [ANSWERS[error] for error in ("dns", "connection", "unauthorized")]
OF_DNS = replace(
    OTHER, then="let tls.dns_hook end once every name server of the domain answers with the record, then inv tls.issue"
)


@dataclass(frozen=True)
class Version:
    """A certificate that a host keeps with its chain, what it calls them, and whether the edge is to serve them."""

    name: str
    certificate: model.Certificate
    is_selected: bool


@dataclass(frozen=True)
class Store:
    """The volume of certificates on one host, and the service that works on it."""

    run: Run
    service: ReleasedService

    @property
    def container(self) -> str:
        """The name of the one container that works at a time."""
        return f"{self.run.settings.name}-certificates"

    def in_container(self, *words: str) -> Command:
        """Make a `compose run` that removes its container at the end: options, the service, a program."""
        return self.run.compose("", "run", "--rm", "-T", "--no-deps", *words)

    def command(self, *words: str) -> Command:
        """Make the command that does one thing in the container of which there is one at a time."""
        return self.in_container("--name", self.container, self.service.name, *words)

    def asking(self, *words: str) -> Command:
        """Make the command that changes nothing, and may run while another works."""
        return self.in_container(self.service.name, *words).as_query()

    def shaking(self, *options: str) -> Command:
        """Make the command that shakes hands with the edge, on the network that both are on."""
        edge = self.run.bundle.release.of("edge")[0].name
        return self.asking("handshake", f"--address={edge}", *options, self.name)

    @property
    def name(self) -> str:
        """A name that the certificate is for."""
        return self.run.settings.tls_names[0].replace("*", "any")

    @property
    def within(self) -> int:
        """The seconds that one command may take: a hook is run for each name, one after the other."""
        return ISSUE_SECONDS + RECORD_SECONDS * len(
            self.run.settings.tls_names if self.run.settings.tls.dns_hook else ()
        )

    def call(self, *words: str, stdin: bytes | None = None) -> dict[str, Any]:
        """Run a program of docker/certificates to its end; return its document, or raise OpsError in words.

        Raises Locked while a container that an interrupted run left, or the timer, still works.
        """
        left = self.run.host.engine.inspect(self.container)
        if left and left.state not in ("created", "exited", "dead"):
            line = self.run.host.command_line
            then = f"wait for it: {line(f'docker logs --follow {self.container}')}"
            then += f"; where it hangs: {line(f'docker rm --force {self.container}')}"
            raise Locked("another certificates container works", where=self.run.host.name, then=then)
        if left:
            self.run.host.run(docker("rm", self.container))
        return self.answer(self.command(*words), stdin=stdin)

    def answer(self, command: Command, *, stdin: bytes | None = None) -> dict[str, Any]:
        """Run a command whose last line is a document; return it, or raise OpsError with what it says."""
        code, out, err = self.run.host.exchange(command, stdin=stdin, timeout=self.within)
        document: dict[str, Any] = {}
        with suppress(ValueError, IndexError):
            document = json.loads(out.decode(errors="backslashreplace").strip().splitlines()[-1])
        if code or not document:
            raise self.failure(document, (err or out).decode(errors="backslashreplace").strip())
        return document

    def failure(self, document: Mapping[str, Any], printed: str) -> OpsError:
        """Say what went wrong, and what a person does about it."""
        answer = ANSWERS.get(str(document.get("error")), OTHER)
        if self.run.settings.tls.challenge == "dns-01" and answer in OF_NAMES:
            answer = OF_DNS
        what = answer.words + str(document.get("detail", printed)).replace("\n", "\n    ")
        return OpsError(what, where=f"{self.run.host.name}: {self.container}", serves=BEFORE, then=answer.then,
                        slug=answer.slug)  # fmt: skip

    def install(self, chain: bytes, key: bytes) -> Version:
        """Keep a certificate and its key, sent over stdin."""
        return version_of(self.call("install", stdin=packed({CHAIN: chain, KEY: key})))

    def issue(self, *, now: bool, probe: bool) -> Version:
        """Have a server issue a certificate, once, where none is there or it is due."""
        by_http = self.run.settings.tls.challenge == "http-01"
        edges = [f"--edge={address}" for address in frame.followers(self.run.settings)]
        asked = ["--probe", *edges] if probe and by_http else []
        return version_of(self.call(*self.issuing(*(["--now"] if now else []), *asked)))

    def share(self, secret: bytes) -> None:
        """Keep the key of the edges that have one certificate, sent over stdin; seal that, where it was obtained."""
        self.call("share", *([] if self.follows else ["--seal"]), stdin=secret)

    def follow(self) -> Version:
        """Fetch the certificate from the edge that obtained it, as this host's timer does."""
        return version_of(self.call(*self.following()))

    @property
    def follows(self) -> bool:
        """Tell whether another host's edge obtains the certificate for this one."""
        return self.run.settings.issuer not in ("", self.run.host.name)

    def renewing(self) -> tuple[str, ...]:
        """Write the words by which this host gets its next certificate. Pure."""
        return self.following() if self.follows else self.issuing()

    def following(self) -> tuple[str, ...]:
        """Write the words that fetch what another edge obtained. Pure."""
        return ("follow", f"--source=http://{frame.issuer(self.run.settings)}", self.name)

    def presented(self) -> model.Certificate:
        """Shake hands with the edge; raise OpsError where it does not serve HTTPS."""
        return model.leaf(str(self.answer(self.shaking())["certificate"]))

    def status(self) -> dict[str, Any]:
        """Ask what the volume has, and the server when it wants that renewed."""
        options = [f"--server={self.server}"] if self.run.settings.tls.by == "acme" else []
        return self.answer(self.asking("status", *options))

    @property
    def server(self) -> str:
        """Where the server of ACME is."""
        return SERVERS.get(self.run.settings.tls.server, self.run.settings.tls.server)

    def issuing(self, *options: str) -> tuple[str, ...]:
        """Write the words that obtain a certificate as the settings say, if none is there or it is due. Pure."""
        tls, names = self.run.settings.tls, self.run.settings.tls_names
        lineage = tls.server if tls.server in SERVERS else urlsplit(tls.server).netloc.replace(":", "-")
        words = [f"--server={self.server}", f"--lineage={lineage}", f"--email={tls.email}", f"--profile={tls.profile}"]
        shared = ["--shared"] if self.run.settings.issuer else []
        words += [f"--dns-hook={shlex.join(tls.dns_hook)}"] if tls.dns_hook else []
        return ("issue", *words, *shared, *options, *names)


def version_of(document: Mapping[str, Any]) -> Version:
    """Read what a program says of a version. Pure."""
    name = str(document["version"])
    return Version(name, model.leaf(str(document["chain"])), document.get("served", name) == name)


def packed(files: Mapping[str, bytes]) -> bytes:
    """Put files into a tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def require_tls(settings: Settings) -> None:
    """Refuse an environment without HTTPS."""
    if not settings.tls.by:
        then = 'set tls.by = "acme", or "file", then inv deploy: docs/how-to/tls.md'
        raise Refused("this environment has no HTTPS: tls.by is not set", where=settings.env, then=then,
                      slug="tls-not-set")  # fmt: skip


def store_of(run: Run) -> Store | None:
    """Return the certificates of a host, as the newest release that has a service for them keeps them.

    HTTPS stays after a rollback to a release from before it, and so do renewals.
    """
    names = [run.release.id, *run.state.served()]
    for name in (name for name in names if name == run.release.id or name in run.state.kept()):
        with suppress(Refused):
            bundle = run.bundle if name == run.release.id else run.state.bundle(name)
            for service in bundle.release.of("certificates"):
                return Store(replace(run, bundle=bundle), service)
    return None


def stores_of(at: Environment) -> tuple[Store, ...]:
    """Return the certificates of every edge of the release that serves; raise Refused where it keeps none.

    Raises OpsError naming the hosts that are not reached.
    """
    require_tls(at.settings)
    facts = observe_all(at)
    serving = serving_in(at, facts)
    return kept_by(at, serving, standing(at, serving, facts).runs)


def reachable_stores(at: Environment) -> tuple[tuple[Store, ...], dict[str, OpsError]]:
    """Return the certificates of the edges that are reached, and by their hosts' names why the others are not."""
    require_tls(at.settings)
    facts, lost = at.gather(lambda host: observe(at.settings, host))
    servers = at.settings.hosts
    lost = {name: error for name, error in lost.items() if name not in servers or "edge" in servers[name].roles}
    if lost and not any(own.edge.release for own in facts.values()):
        return (), lost
    serving = serving_in(at, facts)
    hosts = [host for host in at.hosts if host.name in facts]
    runs, failed = at.gather(lambda host: standing_on(at, host, serving, facts[host.name]), hosts)
    return kept_by(at, serving, runs.values()) if runs else (), lost | failed


def serving_in(at: Environment, facts: Mapping[str, Facts]) -> str:
    """Return the release that serves; raise Refused where none does. Pure."""
    if serving := next((own.edge.release for own in facts.values() if own.edge.release), None):
        return serving
    what = "nothing is deployed, so no edge serves a certificate"
    raise Refused(what, where=at.settings.env, serves="nothing", then="inv deploy", slug="nothing-runs")


def kept_by(at: Environment, release: str, runs: Iterable[Run]) -> tuple[Store, ...]:
    """Return the certificates of hosts; raise Refused where none has any."""
    if stores := tuple(filter(None, map(store_of, runs))):
        return stores
    then = "add docker/compose.tls.yml to `compose`, then inv deploy --include=EDGE with the edge's name"
    what = f"release {release} has no service with the role certificates"
    raise Refused(what, where=at.settings.env, then=then, slug="no-certificates-service")
