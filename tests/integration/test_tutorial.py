"""docs/tutorial.md says what really comes out: its transcript is replayed, command by command."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.site import ROOT, Site, copy_checkout

TUTORIAL = ROOT / "docs" / "tutorial.md"
MARK = "=== command"
# what depends on the machine, and is not in the document
ASIDE = re.compile(r"base images: |! base images are not pinned|! classic image store|bootstrap: | ok base image ")
RELEASE = re.compile(r"\b[0-9a-f]{12}(?:-dirty-[0-9a-f]{6})?-[0-9a-f]{6}\b")
MASKS = {
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}": "ID",
    r"\b[0-9a-f]{64}\b": "DIGEST",
    r"\b[0-9a-f]{12}(-dirty-[0-9a-f]{6})?\b": "REVISION",
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ": "TIME",
    r"\b\d+ probes\b": "N probes",
    r"\b\d+(\.\d)? s\b": "SECONDS",
    r"\S+@\S+": "WHO",
    r" {2,}": "  ",
    r" +$": "",
}


@dataclass(frozen=True)
class Exchange:
    """A command of the document, and what is printed below it."""

    command: str
    output: str


def exchanges(document: str) -> Iterator[Exchange]:
    """Read the transcript: in each ```console block a line with `$ ` is a command, what follows its output."""
    for block in re.findall(r"(?ms)^```console\n(.*?)^```$", document):
        for part in re.split(r"(?m)^\$ ", block)[1:]:
            command, _, output = part.partition("\n")
            yield Exchange(command, output.strip("\n"))


def masked(text: str) -> str:
    """Mask what differs from run to run; a release is known by the order in which it is first seen."""
    text = "\n".join(line for line in text.splitlines() if not ASIDE.match(line))
    seen: dict[str, str] = {}
    text = RELEASE.sub(lambda found: seen.setdefault(found[0], f"RELEASE-{len(seen) + 1}"), text)
    for pattern, word in MASKS.items():
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return text


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Site]:
    """A clone that nothing was done in; its environment is this one, so that bootstrap has nothing to install."""
    site = Site(tmp_path, extra={"OPS_ROLLOUT__WATCH": "3"})  # a reader watches for 10 s: seconds are masked
    copy_checkout(site)
    site.name_images()
    environment = site.root / ".venv"
    environment.mkdir()
    (environment / "bin").symlink_to(Path(sys.executable).parent)
    lock = (site.root / "requirements/dev.txt").read_bytes()
    (environment / "lock.sha256").write_text(hashlib.sha256(lock).hexdigest())
    yield site
    site.sweep()


def replay(site: Site, commands: list[str]) -> str:
    """Type the commands into one shell, as far as they succeed.

    Return the transcript with the document's names and ports.
    """
    lines = [f"printf '\\n%s %s\\n' '{MARK}' {number}\n{command}" for number, command in enumerate(commands)]
    script = "set -e\n" + "\n".join(lines).replace("127.0.0.1:8080", f"127.0.0.1:{site.port}")
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "me"), ("EMAIL", "me@example.invalid"))
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", "-c", script], cwd=site.root,
        env={**site.environment, **who, "GIT_CONFIG_GLOBAL": os.devnull, "PATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
    )  # fmt: skip
    printed = ran.stdout.replace(f"127.0.0.1:{site.port}", "127.0.0.1:8080").replace(site.app, "bookreader")
    outputs = [part.partition("\n")[2].strip("\n") for part in printed.split(MARK)[1:]]
    return transcript(Exchange(command, output) for command, output in zip(commands, outputs, strict=False))


def transcript(found: Iterator[Exchange]) -> str:
    """Write exchanges as the document has them."""
    return "\n".join(f"$ {exchange.command}\n{exchange.output}" for exchange in found)


@pytest.mark.skipif(
    subprocess.run(["sh", "-c", "command -v curl"], capture_output=True).returncode != 0, reason="no curl here"
)
def test_the_tutorial_shows_what_comes_out(clone: Site) -> None:
    """Every command ends with 0, and prints what the document says."""
    document = TUTORIAL.read_text()
    printed = replay(clone, [exchange.command for exchange in exchanges(document)])
    expected, found = masked(transcript(exchanges(document))), masked(printed)
    difference = "\n".join(
        difflib.unified_diff(
            expected.splitlines(), found.splitlines(), "docs/tutorial.md", "what came out", lineterm=""
        )
    )
    assert not difference, f"\n{difference}\n\nunmasked:\n{printed}"
