"""One edge by itself: the real image, what the toolkit renders for it, and a small app behind it."""

from __future__ import annotations

import datetime
import gzip
import http.client
import os
import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.config.compose import Service
from deploy.config.settings import Settings
from deploy.core.model import Deploy
from deploy.core.poll import wait_until
from deploy.edge import frame, nginx, switch
from deploy.edge.folder import EdgeFolder, generation_folder
from deploy.edge.frame import APP, MAINTENANCE, ROUTES, File
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, SWEPT, docker

NAME = "www.shop.test"
LONG = ".".join(["a" * 60] * 4)  # more than nginx takes by default
PEM = serialization.Encoding.PEM
ROUTES_OF_A_TEST = """
        location = /api/more {
            include headers.conf;
            add_header X-More more;
            proxy_pass http://{{ live.backend }};
        }
        location = /api/stream {
            proxy_request_buffering off;
            proxy_pass http://{{ live.backend }};
        }
        location = /api/gone {
            proxy_pass http://127.0.0.1:9;
        }
"""


@dataclass(frozen=True)
class Edge:
    """A running edge: its container, and its addresses on a network that it trusts and on one that it does not."""

    name: str
    image: str
    folder: Path
    stranger: str
    trusted: str
    proxy: str  # how it sees who asks from the network that it trusts

    def plain(self, *, by: str = "") -> http.client.HTTPConnection:
        """Make a connection of plain HTTP."""
        return http.client.HTTPConnection(by or self.stranger, 8080, timeout=10)

    def connect(self, name: str | None = NAME, context: ssl.SSLContext | None = None, *, by: str = "") -> ssl.SSLSocket:
        """Open a connection of TLS that asks for a name."""
        context = context or trusting(self.folder)
        context.check_hostname = name is not None
        with socket.create_connection((by or self.stranger, 8443), timeout=10) as raw:
            return context.wrap_socket(raw, server_hostname=name)

    def tls(self, *, by: str = "") -> http.client.HTTPConnection:
        """Make a connection of HTTPS."""
        connection = http.client.HTTPConnection(NAME, 8443, timeout=10)
        connection.sock = self.connect(by=by)
        return connection

    def get(self, path: str, *, by: str = "", tls: bool = True, method: str = "GET", **headers: str) -> Answer:
        """Ask over a new connection; a header's underscores are hyphens."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.tls(by=by) if tls else self.plain(by=by)) as connection:
            connection.request(method, path, headers={"Host": f"{NAME}:8443", **names})
            answer = connection.getresponse()
            headers_of = {name.lower(): ", ".join(answer.headers.get_all(name, [])) for name in answer.headers}
            return Answer(answer.status, headers_of, answer.read())

    def again(self, *, line: str, **sections: Any) -> None:
        """Let it serve by other settings, and a line of secrets."""
        (self.folder / ".env.local").write_text(line)
        (self.folder / ".env.local").chmod(0o600)
        render(settings_of(self.folder, self.name, self.proxy, **sections), 2)
        docker("exec", self.name, "busybox", "kill", "-HUP", "1")

    def log(self) -> str:
        """Return all that the edge has logged."""
        return docker("logs", self.name) + docker_errors("logs", self.name)


@dataclass(frozen=True)
class Answer:
    """What came back; headers by their names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def docker_errors(*words: str) -> str:
    """Run docker and return what it printed on stderr."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stderr


def trusting(folder: Path) -> ssl.SSLContext:
    """Trust the certificate of an edge."""
    return ssl.create_default_context(cafile=str(folder / "certificates" / "ca.pem"))


def make_certificate(folder: Path, *names: str) -> None:
    """Write a new certificate and its key as the volume of certificates has them, and `ca.pem`, which signed it."""
    ca, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = certified(ca, "A test's own authority", ca, x509.BasicConstraints(ca=True, path_length=None))
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    leaf = certified(key, names[0], ca, alternatives, x509.BasicConstraints(ca=False, path_length=None))
    own = folder / "versions" / "test"
    own.mkdir(parents=True)
    (folder / "served").symlink_to("versions/test")
    (folder / "ca.pem").write_bytes(root.public_bytes(PEM))
    (own / "fullchain.pem").write_bytes(leaf.public_bytes(PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (own / "privkey.pem").write_bytes(key.private_bytes(PEM, form, plain))
    if os.geteuid() == 0:
        (own / "privkey.pem").chmod(0o600)
        os.chown(own / "privkey.pem", 10001, 10001)


def certified(
    key: ec.EllipticCurvePrivateKey, name: str, ca: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
) -> x509.Certificate:
    """Sign a certificate of thirty days."""
    now = datetime.datetime.now(datetime.UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)])
                       for each in (name, "A test's own authority"))  # fmt: skip
    made = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(),
                                   now - datetime.timedelta(hours=1), now + datetime.timedelta(days=30))  # fmt: skip
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())
    signs = x509.KeyUsage(key is not ca, False, False, False, False, key is ca, key is ca, False, False)
    for extension in (*extensions, signer, x509.SubjectKeyIdentifier.from_public_key(key.public_key()), signs):
        made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return made.sign(ca, hashes.SHA256())


def make_site(folder: Path) -> None:
    """Write a page and an asset as the volume of the site has them."""
    for name, text in (("releases/r1/index.html", "<div id=root></div>"), ("assets/app-1.js", "let a = 1;\n" * 99)):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    (folder / "assets" / "app-1.js.gz").write_bytes(gzip.compress(b"precompressed"))
    (folder / "assets" / "bare-1.js").write_text("let b = 1;\n" * 99)


def render(settings: Settings, generation: int = 1) -> None:
    """Write a generation, as a deploy does."""
    web = (Service("backend", Deploy(role="web", port=9000), {}, False),)
    route = nginx.Route("blue", "r1", upstreams={"backend_blue": ("127.0.0.1:9000",)}, health=("/blue/backend/health",))
    app = File(nginx.render(settings, web, route))
    page = File(nginx.render(settings, web, nginx.Route("blue", "r1", maintenance=True)))
    files = {**frame.render(settings), APP: app, MAINTENANCE: page, ROUTES: app}
    EdgeFolder(settings, LocalHost()).write(files, generation, route)
    switch.point(EdgeFolder(settings, LocalHost()), generation_folder(generation), switch.CURRENT)


def settings_of(folder: Path, app: str, trusted: str, **sections: Any) -> Settings:
    """Return the settings of an edge that trusts an address."""
    edge = {"trusted_proxies": [trusted], **sections.pop("edge", {})}
    own = {"env": "local", "app": app, "compose": ["c.yml"], "domain": f"{NAME} shop.test {LONG}", "root": folder}
    return Settings.model_validate({**own, "state": folder / "state", "edge": edge, **sections})


def build_image(name: str) -> None:
    """Build the edge's image from this checkout."""
    found = bases.references(ROOT, "auto", ("nginx", "busybox"), LocalHost())
    contexts = [f"--build-context={base}=docker-image://{place}" for base, place in found.items()]
    file = f"--file={ROOT / 'docker' / 'edge.Dockerfile'}"
    docker("buildx", "build", "--builder=default", "--quiet", "--load", file, *contexts, f"--tag={name}",
           str(ROOT / "docker" / "frontend" / "site"))  # fmt: skip


@contextmanager
def running(folder: Path, **sections: Any) -> Iterator[Edge]:
    """Run an edge with these sections of the settings; `trusted_proxies` has the second network."""
    app = f"t{uuid.uuid4().hex[:8]}"
    label, names = f"--label={SWEPT}={app}", (f"{app}-stranger", f"{app}-trusted")
    shutil.copytree(ROOT / "nginx", folder / "nginx")
    with (folder / "nginx" / "site.conf.j2").open("a") as site:
        site.write(ROUTES_OF_A_TEST)
    make_certificate(folder / "certificates", NAME, "shop.test")
    make_site(folder / "site")
    try:
        build_image(f"{app}/edge")
        for name in names:
            docker("network", "create", label, name)
        gateway = docker("network", "inspect", "--format={{(index .IPAM.Config 0).Gateway}}", names[1]).strip()
        render(settings_of(folder, app, gateway, **sections))
        mounts = [f"--volume={folder / own}:{place}:ro" for own, place in (
            ("state/edge", "/etc/edge"), ("site", "/site"), ("certificates", "/etc/certificates"))]  # fmt: skip
        as_edge = ["--read-only", "--user=10001:10001", "--cap-drop=ALL", "--tmpfs=/tmp:mode=1777",
                   "--tmpfs=/var/cache/nginx:uid=10001,gid=10001,mode=0700"]  # fmt: skip
        docker("run", "--detach", label, f"--name={app}", f"--network={names[0]}", *as_edge, *mounts, f"{app}/edge")
        docker("network", "connect", names[1], app)
        assert docker("inspect", "--format={{.State.Running}}", app).strip() == "true", docker_errors("logs", app)
        script = f"--volume={ROOT / 'tests/support/echo.py'}:/echo.py:ro"
        docker("run", "--detach", label, f"--name={app}-app", f"--network=container:{app}", script,
               bases.references(ROOT, "auto", ("python",), LocalHost())["python"], "python3.11",
               "/echo.py")  # fmt: skip
        addresses = docker("inspect", "--format={{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", app).split()
        networks = docker(
            "inspect", "--format={{range $n, $_ := .NetworkSettings.Networks}}{{$n}} {{end}}", app
        ).split()
        by_name = dict(zip(networks, addresses, strict=True))
        made = Edge(app, f"{app}/edge", folder, by_name[names[0]], by_name[names[1]], gateway)
        assert wait_until(lambda: answers(made), 20), docker_errors("logs", app)
        yield made
    finally:
        for container in docker("ps", "--all", "--quiet", f"--filter=label={SWEPT}={app}").split():
            docker("rm", "--force", "--volumes", container)
        for name in docker("network", "ls", "--quiet", f"--filter=label={SWEPT}={app}").split():
            docker("network", "rm", name)
        docker("image", "rm", "--force", f"{app}/edge")


def answers(edge: Edge) -> bool:
    """Tell whether an edge and the app behind it answer."""
    try:
        return edge.get("/api/echo").status == 200
    except OSError:
        return False
