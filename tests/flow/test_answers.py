"""What a command that only looks asks a far host: once, and files of a folder by one program."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.core.errors import OpsError
from deploy.core.shell import Command
from deploy.hosts.engine import Engine
from deploy.hosts.ssh.answers import FETCH, Answers, unpacked
from deploy.hosts.ssh.host import SshHost

PATTERNS = ("ledger.jsonl", "none", "lock file", "edge/current", "edge/current/route.json", "releases/*/release.json")


def fetched(folder: Path, *patterns: str) -> tuple[bytes, str]:
    done = subprocess.run(["sh", "-c", FETCH, "sh", str(folder), *patterns], capture_output=True, env={"LC_ALL": "C"})
    return done.stdout, done.stderr.decode()


def test_files_links_and_what_is_missing_come_by_one_program(tmp_path: Path) -> None:
    for name in ("ledger.jsonl", "lock file", "edge/generations/1/route.json", "releases/a b/release.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(f"{name}\n\0\xff".encode("latin-1"))
    (tmp_path / "edge" / "current").symlink_to("generations/1")
    assert {(kind, name): content for kind, name, content in unpacked(*fetched(tmp_path, *PATTERNS))} == {
        ("read", "ledger.jsonl"): b"ledger.jsonl\n\0\xff", ("read", "lock file"): b"lock file\n\0\xff",
        ("readlink", "edge/current"): "generations/1",
        ("read", "edge/current/route.json"): b"edge/generations/1/route.json\n\0\xff",
        ("read", "releases/a b/release.json"): b"releases/a b/release.json\n\0\xff",
        ("read", "none"): None, ("readlink", "none"): None,
    }  # fmt: skip


def test_what_was_cut_short_or_shrank_is_asked_for_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a" * 5000)
    archive, stderr = fetched(tmp_path, "a")
    assert [*unpacked(archive[:3000], stderr)] == []
    assert [*unpacked(archive, "tar: a: File shrank by 9 bytes; padding with zeros")] == []
    assert [*unpacked(b"", "sh: 1: cd: can't cd to /nowhere")] == []
    assert len([*unpacked(archive, stderr)]) == 1


def test_a_file_that_may_not_be_read_is_not_taken_for_missing() -> None:
    assert [*unpacked(b"", "tar: lock: Cannot open: Permission denied\n")] == []


def test_a_question_that_is_being_asked_is_waited_for() -> None:
    answers, asked, go = Answers(), list[int](), Event()

    def ask() -> str:
        asked.append(1)
        go.wait(5)
        return "yes"

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(answers.get, "q", ask) for _ in range(2)]
        go.set()
        assert [one.result() for one in both] == ["yes", "yes"]
    assert len(asked) == 1
    answers.put("known", None)
    assert answers.get("known", lambda: "never asked") is None


def test_what_failed_fails_again() -> None:
    answers = Answers()
    for _ in range(2):
        with pytest.raises(OSError, match="broke"):
            answers.get("q", lambda: (_ for _ in ()).throw(OSError("broke")))


def test_a_host_that_is_looked_at_is_asked_once_and_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    host, asked = object.__new__(SshHost), list[str]()

    def exchange(command: Command, **_: object) -> tuple[int, bytes, bytes]:
        asked.append(command.argv[0])
        return 0, b"text", b""

    monkeypatch.setattr(host, "exchange", exchange, raising=False)
    monkeypatch.setattr(host, "name", "app1", raising=False)
    with host.remembering():
        assert [host.read_bytes(Path("/a")) for _ in range(3)] == [b"text"] * 3
        assert host.list_resources() == host.list_resources() == ["text"]
        assert asked == ["cat", "sh"]
    host.read_bytes(Path("/a"))
    assert asked == ["cat", "sh", "cat"]


def described(name: str, role: str, *, running: bool = True, one_off: str = "True") -> dict[str, object]:
    labels = {"com.docker.compose.oneoff": one_off, "bookreader-ops.role": role}
    return {"Name": f"/{name}", "Config": {"Labels": labels}, "State": {"Running": running}}


def test_one_off_containers_and_names_of_a_far_engine_need_no_sdk() -> None:
    listed = [described("a", "web"), described("b", "backup"), described("c", "web", running=False),
              described("d", "web", one_off="False")]  # fmt: skip
    engine = Engine("app1", list_containers=lambda _: listed, list_resources=lambda: ["n", "v"])
    assert engine.one_offs("shop") == ("a",)
    assert engine.resources() == {"n", "v"}


def test_a_far_engine_that_breaks_off_is_reported_as_that() -> None:
    def broken(*_: object) -> list[Any]:
        raise OSError("eof")

    engine = Engine("app1", list_containers=broken, list_resources=broken)
    for ask in (lambda: engine.one_offs("shop"), engine.resources, lambda: engine.containers("shop")):
        with pytest.raises(OpsError, match="the Docker engine broke off: eof"):
            ask()
