"""A small vulnerability database that Trivy reads, and a registry that gives it away.

Trivy's database is one BoltDB file; the format: https://github.com/etcd-io/bbolt/blob/main/internal/common/page.go
"""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import struct
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

PAGE = 4096
LEAF, META, FREELIST, BUCKET = 0x02, 0x04, 0x10, 1
MAGIC, FORMAT = 0xED0CDAED, 2
LAYER = "application/vnd.aquasec.trivy.db.layer.v1.tar+gzip"
Tree = Mapping[str, Any]


class Json(dict[str, Any]):
    """A value of the database; any other mapping is a bucket."""


PIP, NPM, DEBIAN = "pip::GitHub Security Advisory pip", "npm::GitHub Security Advisory npm", ("debian 12", "debian 13")
IDS = {"pip": "CVE-2999-0001", "debian": "CVE-2999-0002", "npm": "CVE-2999-0003"}
ADVISORIES: Tree = {
    "data-source": {
        PIP: Json(ID="ghsa", Name="GHSA", URL="https://example.test"),
        NPM: Json(ID="ghsa", Name="GHSA", URL="https://example.test"),
        **{name: Json(ID="debian", Name="Debian", URL="https://example.test") for name in DEBIAN},
    },
    PIP: {"planted-pip": {IDS["pip"]: Json(PatchedVersions=["2.0"], VulnerableVersions=["<2.0"])}},
    NPM: {"planted-npm": {IDS["npm"]: Json(PatchedVersions=["2.0.0"], VulnerableVersions=["<2.0.0"])}},
    **{name: {"planted-deb": {IDS["debian"]: Json(FixedVersion="2.0")}} for name in DEBIAN},
    "vulnerability": {
        IDS["pip"]: Json(Title="of pip", Severity="CRITICAL", VendorSeverity={"ghsa": 4}),
        IDS["npm"]: Json(Title="of npm", Severity="CRITICAL", VendorSeverity={"ghsa": 4}),
        IDS["debian"]: Json(Title="of Debian", Severity="HIGH", VendorSeverity={"debian": 3}),
    },
}


class Pages:
    """The pages of a BoltDB file: two metas, a freelist, the root, then the buckets."""

    def __init__(self) -> None:
        self.pages = dict[int, bytes]()
        self.next = 4

    def add(self, tree: Tree, number: int | None = None) -> int:
        """Write a bucket, each of those in it on pages of its own; return the number of its first page."""
        items = [(name.encode(), *self.value(value)) for name, value in sorted(tree.items())]
        if number is None:
            number, size = self.next, 16 + sum(16 + len(key) + len(value) for key, value, _ in items)
            self.next += -(-size // PAGE)
        heads, bodies = b"", b""
        for at, (key, value, flags) in enumerate(items):
            heads += struct.pack("<IIII", flags, 16 * (len(items) - at) + len(bodies), len(key), len(value))
            bodies += key + value
        overflow = -(-(16 + len(heads + bodies)) // PAGE) - 1
        page = struct.pack("<QHHI", number, LEAF, len(items), overflow) + heads + bodies
        self.pages[number] = page.ljust((overflow + 1) * PAGE, b"\0")
        return number

    def value(self, value: Any) -> tuple[bytes, int]:
        """Return what stands in a leaf: JSON, or where the bucket begins."""
        if isinstance(value, Json):
            return json.dumps(value).encode(), 0
        return struct.pack("<QQ", self.add(value), 0), BUCKET

    def file(self, tree: Tree) -> bytes:
        """Return the whole file."""
        self.add(tree, 3)
        head = [self.meta(0), self.meta(1), struct.pack("<QHHI", 2, FREELIST, 0, 0).ljust(PAGE, b"\0")]
        return b"".join([*head, *(self.pages[number] for number in sorted(self.pages))])

    def meta(self, transaction: int) -> bytes:
        """Return one of the two pages that say where the rest is; the newer one counts."""
        words = struct.pack("<IIIIQQQQQ", MAGIC, FORMAT, PAGE, 0, 3, 0, 2, self.next, transaction)
        page = struct.pack("<QHHI", transaction, META, 0, 0) + words + struct.pack("<Q", checksum(words))
        return page.ljust(PAGE, b"\0")


def checksum(data: bytes) -> int:
    """Return FNV-1a, 64 bits."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return value


def archive(*, hours: float = 0) -> bytes:
    """Return the database as its layer holds it, so many hours old."""
    made = datetime.now(UTC) - timedelta(hours=hours)
    times = {"UpdatedAt": made, "NextUpdate": made + timedelta(days=1), "DownloadedAt": made}
    metadata = {"Version": 2, **{key: time.strftime("%Y-%m-%dT%H:%M:%SZ") for key, time in times.items()}}
    files = {"trivy.db": Pages().file(ADVISORIES), "metadata.json": json.dumps(metadata).encode()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(packed.getvalue(), mtime=0)


def digest(data: bytes) -> str:
    """Name a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Registry(http.server.ThreadingHTTPServer):
    """A registry with one repository, `trivy-db:2`; answers the next requests with `faults` while there are some."""

    daemon_threads = True

    def __init__(self, layer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.faults, config = list[int](), b"{}"
        manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.aquasec.trivy.config.v1+json", "digest": digest(config),
                       "size": 2},
            "layers": [{"mediaType": LAYER, "digest": digest(layer), "size": len(layer),
                        "annotations": {"org.opencontainers.image.title": "db.tar.gz"}}],
        }).encode()  # fmt: skip
        self.blobs = {digest(one): one for one in (layer, config)}
        self.manifests = {"2": manifest, digest(manifest): manifest}

    @property
    def repository(self) -> str:
        """What `scan.databases` names."""
        return f"127.0.0.1:{self.server_port}/trivy-db:2"


class Answer(http.server.BaseHTTPRequestHandler):
    """One request to the registry."""

    server: Registry

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        stored = self.server.manifests if "/manifests/" in self.path else self.server.blobs
        code = 200 if self.path == "/v2/" or name in stored else 404
        if self.path != "/v2/" and self.server.faults:
            code = self.server.faults.pop(0)
        data = stored.get(name, b"{}") if code == 200 else b'{"errors": [{"code": "TOOMANYREQUESTS"}]}'
        self.send_response(code)
        manifest = "/manifests/" in self.path
        kind = "application/vnd.oci.image.manifest.v1+json" if manifest else "application/octet-stream"
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        if manifest and code == 200:
            self.send_header("Docker-Content-Digest", digest(data))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    do_HEAD = do_GET  # noqa: N815  # the base class calls it so

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(*, hours: float = 0) -> Iterator[Registry]:
    """Give the database away, as old as that, on a port of its own."""
    registry = Registry(archive(hours=hours))
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        registry.shutdown()
        registry.server_close()
