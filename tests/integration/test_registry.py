"""Images come to hosts through a registry that asks for a password, and through one that has a bad day."""

from __future__ import annotations

import http.client
import http.server
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.config.sections import Ship
from deploy.core.errors import OpsError, Refused
from deploy.core.poll import wait_until
from deploy.core.shell import Secret, command
from deploy.hosts.local import LocalHost
from deploy.images import bases, inventory, registry
from tests.support.nested import Nested
from tests.support.site import ROOT, docker, free_port

USER, WORD = "deployer", "s3cr$et"
CONFIGURATION = """
version: 0.1
storage: {{filesystem: {{rootdirectory: /data}}}}
http: {{addr: "127.0.0.1:{port}"}}
auth: {{htpasswd: {{realm: test, path: /etc/registry/htpasswd}}}}
"""
# bcrypt of WORD
HTPASSWD = f"{USER}:$2y$04$cWv6j1cxoqQZfd3QBd6yuu5T7XzfIz3Mg773jJvvrqmunghr8Gbpy\n"
# a host's own loopback leads to the proxy here, so that both know the registry by one name
FORWARD = """
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
iptables -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport $1 -j DNAT --to-destination $2:$1
iptables -t nat -A POSTROUTING -d $2 -p tcp --dport $1 -j MASQUERADE
"""


class Proxy(http.server.ThreadingHTTPServer):
    """Stands before a registry; answers the next requests by itself while there are faults."""

    daemon_threads = True

    def __init__(self, registry: int) -> None:
        super().__init__(("0.0.0.0", 0), Relay)
        self.registry, self.faults, self.asked = registry, list[int](), 0
        self.always = 0

    @property
    def address(self) -> str:
        """Its name on each machine."""
        return f"127.0.0.1:{self.server_port}"


class Relay(http.server.BaseHTTPRequestHandler):
    """One connection to the proxy."""

    protocol_version = default_request_version = (
        "HTTP/1.1"  # an engine tries TLS first, and then goes by the status line it gets
    )
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def relay(self) -> None:
        """Answer with a fault, or as the registry does."""
        body, self.server.asked = self.body(), self.server.asked + 1
        fault = self.server.faults.pop(0) if self.server.faults else self.server.always
        if fault:
            self.answer(
                fault, {"Retry-After": "1"}, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}' if fault == 429 else b""
            )
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("transfer-encoding", "content-length")
        }
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.registry)) as link:
            link.request(self.command, self.path, body, headers)
            output = link.getresponse()
            self.answer(output.status, dict(output.getheaders()), output.read())

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer; the length of what HEAD leaves out is the registry's."""
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection") or self.command == "HEAD":
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """Read what came with the request."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = list[bytes]()
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = relay  # noqa: N815  # the names that its base class calls


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A registry that asks for a password, behind a proxy."""
    folder, name, port = tmp_path_factory.mktemp("registry"), f"registry-{uuid.uuid4().hex[:8]}", free_port()
    base = bases.Base("test-registry", "", "bookworm", "extract", ("docker-registry",), recipe="1")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    (folder / "config.yml").write_text(CONFIGURATION.format(port=port))
    (folder / "htpasswd").write_text(HTPASSWD)
    docker("run", "--detach", f"--name={name}", "--label=bookreader-ops.test-host", "--network=host", "--tmpfs=/data",
           f"--volume={folder}:/etc/registry:ro", base.local_tag, "docker-registry", "serve",
           "/etc/registry/config.yml")  # fmt: skip
    server = Proxy(port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        assert wait_until(lambda: not LocalHost().port_is_free("127.0.0.1", port), 20), docker("logs", name)
        yield server
    finally:
        server.shutdown()
        server.server_close()
        subprocess.run(["docker", "rm", "--force", name], capture_output=True)


@pytest.fixture(scope="module")
def nested(proxy: Proxy, stores: dict[str, Nested]) -> dict[str, Nested]:
    """A host on each store, to which the proxy is on its own loopback."""
    gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
    for host in stores.values():
        docker("exec", host.name, "sh", "-ec", FORWARD, "sh", str(proxy.server_port), gateway)
    return stores


@pytest.fixture
def transfer(proxy: Proxy) -> Iterator[inventory.ImageTransfer]:
    """An image that no registry has: busybox with a file of its own."""
    proxy.faults, proxy.always = [], 0
    name, other = f"team/app{uuid.uuid4().hex[:8]}", bases.prepare(ROOT, "debian", ["busybox"], LocalHost())["busybox"]
    recipe = f'FROM {other}\nRUN ["busybox", "sh", "-c", "busybox echo {name} > /own"]\n'
    built = ["docker", "buildx", "build", "--quiet", "--load", "--provenance=false", f"--tag={name}:r1", "-"]
    subprocess.run(built, input=recipe, text=True, check=True, capture_output=True)
    yield inventory.find_transfers([name], [name], "r1", LocalHost())[0]
    docker("image", "rm", f"{name}:r1")


def who(proxy: Proxy, password: str = WORD) -> registry.Account:
    return registry.Account(f"{proxy.address}/team", USER, Secret(password))


@contextmanager
def nothing_left(host: LocalHost) -> Iterator[None]:
    """Prove that nobody's login stays on a host."""
    there = command("find", "/tmp", "-maxdepth", "1", "-name", "ops-login.*")  # noqa: S108  # where mktemp makes folders
    before = host.run(there)
    yield
    assert host.run(there) == before


def patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect the pauses instead of making them."""
    waited = list[float]()
    monkeypatch.setattr(registry, "pause", lambda _, seconds: waited.append(seconds))
    return waited


@pytest.mark.parametrize("store", ["containerd", pytest.param("classic", marks=pytest.mark.night)])
def test_hosts_pull_by_digest_what_was_pushed_here(
    store: str, transfer: inventory.ImageTransfer, proxy: Proxy, nested: dict[str, Nested], tmp_path: Path
) -> None:
    host = nested[store]
    with nothing_left(LocalHost()), nothing_left(host):
        (published,) = registry.publish([transfer], who(proxy), LocalHost())
        registry.fetch([published], "r1", tmp_path, who(proxy), host)
    assert published.image.digest == transfer.image.digest
    seen = inventory.observe(host)
    assert host.docker("image", "inspect", "--format", "{{.Id}}", transfer.kept).strip() == seen.id(transfer.image)
    assert host.docker("run", "--rm", seen.id(transfer.image), "busybox", "cat", "/own").strip() == transfer.name
    settings = load("local").model_copy(update={"state": tmp_path})
    assert (
        inventory.require_pushed(settings, host, "r1", [transfer.name])[transfer.name].config == transfer.image.config
    )
    assert docker("image", "ls", "--quiet", f"{proxy.address}/*/*/*") == ""


@pytest.mark.night
def test_an_image_built_on_the_classic_store_gets_its_digest_from_the_registry(
    transfer: inventory.ImageTransfer, proxy: Proxy, nested: dict[str, Nested], tmp_path: Path
) -> None:
    """What was pulled there is not pushed again: its digest would be another one."""
    (published,) = registry.publish([transfer], who(proxy), LocalHost())
    classic, name = nested["classic"], f"{transfer.name}-too"
    registry.fetch([published], "r1", tmp_path, who(proxy), classic)
    recipe = f"FROM {transfer.kept}\nLABEL own=2\n"
    docker(
        "exec",
        classic.name,
        "sh",
        "-c",
        f"echo '{recipe}' | docker buildx build --load --provenance=false --tag={name}:r1 -",
    )
    built = inventory.find_transfers([name], [name], "r1", classic)
    again = registry.publish(built, who(proxy), classic)
    registry.fetch(again, "r1", tmp_path, who(proxy), nested["containerd"])
    assert (
        nested["containerd"].docker("image", "inspect", "--format", "{{.Id}}", f"{name}:r1").strip()
        == again[0].image.digest
    )
    assert registry.publish(built, who(proxy), classic) == again
    with registry.logged_in(who(proxy), classic) as words:
        classic.docker(
            *words, "pull", f"{registry.place(f'{proxy.address}/team', transfer.name)}@{published.image.digest}"
        )
    classic.docker("tag", transfer.kept, f"{transfer.name}-pulled:r1")
    with pytest.raises(Refused) as refused:
        registry.publish(
            [inventory.ImageTransfer(transfer.name, f"{transfer.name}-pulled:r1", transfer.image)], who(proxy), classic
        )
    assert refused.value.slug == "image-store-classic"


def test_what_passes_is_waited_for(
    transfer: inventory.ImageTransfer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine asks five times by itself; a registry that says 429 for longer is asked again later."""
    waited = patient(monkeypatch)
    proxy.faults = [429] * 8
    registry.publish([transfer], who(proxy), LocalHost())
    assert waited


@pytest.mark.parametrize(
    ("always", "password", "slug", "then"),
    [
        (500, WORD, "registry-error", "log"), (429, WORD, "registry-busy", "minutes"),
        (403, WORD, "registry-denied", "ship.user"), (0, "wrong", "registry-unauthorized", "REGISTRY_PASSWORD"),
    ],
)  # fmt: skip
def test_a_registry_that_refuses_is_reported(
    always: int,
    password: str,
    slug: str,
    then: str,
    transfer: inventory.ImageTransfer,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited = patient(monkeypatch)
    proxy.always = always
    with nothing_left(LocalHost()), pytest.raises(OpsError) as failed:
        registry.publish([transfer], who(proxy, password), LocalHost())
    assert failed.value.slug == slug
    assert WORD not in str(failed.value)
    assert failed.value.where == "localhost"
    assert "nothing that runs was touched" in str(failed.value)
    assert then in failed.value.then
    assert len(waited) == (5 if always in (500, 429) else 0)


def test_a_registry_that_cannot_be_reached_is_reported(
    transfer: inventory.ImageTransfer, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient(monkeypatch)
    nobody = registry.Account(f"127.0.0.1:{free_port()}/team", USER, Secret(WORD))
    with pytest.raises(OpsError) as failed:
        registry.publish([transfer], nobody, LocalHost())
    assert failed.value.slug == "registry-unreachable"


def test_a_user_without_a_password_is_refused(tmp_path: Path) -> None:
    ship = Ship(by="registry", registry="registry.example.org/team", user=USER)
    settings = load("local").model_copy(update={"ship": ship, "root": tmp_path})
    with pytest.raises(Refused) as refused:
        registry.account(settings)
    assert refused.value.slug == "registry-password-missing"
