"""Marked secrets, and everything in which they must not be: whoever sees a mark has found a leak."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from tests.support.site import Done, Site, docker

PAUSE = 0.003  # seconds between two looks at the processes; whatever starts Python or Docker lives for longer
# in each Python that `inv` is or starts: keeps every command line that it starts, however short it lives
HOOK = """import os, sys
def hook(event, words):
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn"):
        line = b"\\0".join(map(os.fsencode, words[1] if not isinstance(words[1], str | bytes) else words[1:2])) + b"\\n"
        os.write(file, line)
file = os.open({path!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
sys.addaudithook(hook)
"""


@dataclass
class Canary:
    """Marks that stand in secrets, and what was found to hold one."""

    marks: tuple[str, ...] = field(default_factory=lambda: (uuid.uuid4().hex,))
    hits: list[str] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)  # command lines, of those that live for some 20 ms

    def look(self, where: str, content: bytes | str) -> None:
        """Note a place that holds a mark."""
        whole = content.encode() if isinstance(content, str) else content
        self.hits += [where for mark in self.marks if mark.encode() in whole][:1]

    def inv(self, site: Site, *words: str, code: int | None = 0, **more: str) -> Done:
        """Run `inv`, and look at what it prints."""
        started = site.folder / "started"
        hook = site.folder / "hook" / "sitecustomize.py"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK.format(path=str(started)))
        done = site.inv(*words, code=code, PYTHONPATH=str(hook.parent), **more)
        self.look(f"a command line of inv {' '.join(words)}", started.read_bytes())
        self.look(f"what inv {' '.join(words)} prints", done.stdout + done.stderr)
        return done

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Look at the command lines of all processes meanwhile, those in containers among them."""
        over = threading.Event()
        thread = threading.Thread(target=self.poll, args=(over, set(Path("/proc").iterdir())))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        for line in self.seen:
            self.look(f"the command line {line.partition(b' ')[0]!r}", line)

    def poll(self, over: threading.Event, before: set[Path]) -> None:
        """Keep every command line that is seen, of processes that were not there before."""
        while not over.wait(PAUSE):
            for process in set(Path("/proc").iterdir()) - before:
                with suppress(OSError):
                    self.seen.add((process / "cmdline").read_bytes())

    def folder(self, top: Path, but: Iterable[str] = ()) -> int:
        """Look at every file below a folder, but for those of some names; return how many."""
        files = [path for path in top.rglob("*") if path.is_file() and path.name not in set(but)]
        for path in files:
            self.look(str(path.relative_to(top)), path.read_bytes())
        return len(files)

    def image(self, name: str) -> int:
        """Look at an image: its history, its configuration, every file of every layer; return how many files."""
        self.look(f"the history of {name}", docker("history", "--no-trunc", name))
        self.look(f"the configuration of {name}", docker("image", "inspect", name))
        saved = subprocess.run(["docker", "image", "save", name], check=True, capture_output=True).stdout
        return self.archive(name, saved)

    def archive(self, name: str, content: bytes) -> int:
        """Look at the files of an archive, and of those that are in it."""
        count = 0
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                data = file.read() if file else b""
                data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" and "blobs/" in member.name else data
                nested = "blobs/" in member.name and data[257:262] == b"ustar"
                count += self.archive(f"{name}: {member.name[:20]}", data) if nested else 1
                self.look(f"{name}: {member.name}", b"" if nested else data)
        return count

    def logs(self, site: Site, but: Iterable[str] = ()) -> int:
        """Look at what the containers of a site have printed; return how many there are."""
        names = [name for name in site.containers() if name not in set(but)]
        for name in names:
            ran = subprocess.run(["docker", "logs", name], check=True, capture_output=True)
            self.look(f"the log of {name}", ran.stdout + ran.stderr)
        return len(names)


class Receiver(HTTPServer):
    """A chat that takes notifications."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: list[bytes] = []


class Taking(BaseHTTPRequestHandler):
    """Take one notification."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.taken.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:
        """Keep quiet."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Take notifications meanwhile."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def environment(container: str) -> dict[str, str]:
    """Return what a container has as its variables."""
    printed = docker("inspect", "--format", "{{json .Config.Env}}", container)
    return dict(pair.split("=", 1) for pair in json.loads(printed))
