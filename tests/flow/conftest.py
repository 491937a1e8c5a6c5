"""Tests of execution on fakes: loopback at most."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from threading import local
from time import sleep

import pytest

from deploy.core import yaml
from tests.support import network
from tests.support.place import Place


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network.block(monkeypatch, loopback=True)


@pytest.fixture(scope="session", autouse=True)
def dumped_once() -> Iterator[None]:
    """Write each YAML document once: the same few releases are rendered thousands of times."""
    dump, texts = yaml.dump, dict[str, str]()

    def dump_once(document: object) -> str:
        key = repr(document)
        if key not in texts:
            texts[key] = dump(document)
        return texts[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "dump", dump_once)
        yield


class Looks(local):
    """A clock for polls that counts looks: a pause is a millisecond, in which others go on, and counts as its twentieth.

    So a limit is a number of looks, however busy the machine is, and takes no processor from what is waited for.
    """

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        sleep(0.001)
        self.now += seconds / 20


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll with short pauses; write without waiting for the disk."""
    monkeypatch.setattr("deploy.core.poll.time", Looks())
    monkeypatch.setattr("deploy.hosts.local.os.fsync", lambda _: None)


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place where three releases served and the third does, so that a deploy also forgets one.

    Redis has stopped.
    """
    made = Place(tmp_path_factory.mktemp("three"))
    for name in ("r0", "r1", "r2"):
        made.deploy(name)
    made.host.engine.change("shop-local-redis-1", state="exited", health="")
    return made


@pytest.fixture
def place(three: Place, tmp_path: Path, no_waiting: None) -> Place:
    """Return a copy of it."""
    shutil.copytree(three.state.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    made = Place(tmp_path)
    made.host.engine.observed.update(three.host.engine.observed)
    made.host.generation, made.host.answer = three.host.generation, three.host.answer
    return made
