"""What a host remembers, and who holds its lock."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from deploy.config.settings import ROOT
from deploy.core.errors import Interrupted, Locked, OpsError, Refused
from deploy.core.model import Record, Schema
from deploy.core.poll import wait_until
from deploy.core.shell import Command, Result, command
from deploy.hosts.local import BLOCK, LocalHost, end_of_lines
from deploy.state import locks
from deploy.state.store import Bundle, State, require_folder
from tests.support.samples import release

HOLD = """
import pathlib, sys
from deploy.state import locks
from deploy.hosts.local import BLOCK, LocalHost, end_of_lines
with locks.held([LocalHost()], pathlib.Path(sys.argv[1]), "deploy"):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(LocalHost(), tmp_path / "state")


def record(name: str, outcome: str = "in service") -> Record:
    return Record(
        release=name, revision=name, command="deploy", outcome=outcome, colour="blue", generation=2,
        schema_revision=None, who="me", started="2026-01-01T00:00:00Z", seconds=1, commit_time="2026-01-01T00:00:00Z",
    )  # fmt: skip


def test_a_bundle_comes_back_as_it_was_kept(state: State) -> None:
    kept = Bundle(release("a"), {"blue.yml": "name: x\n", "routes.blue.conf": "a\n\nb"}, 'A="1"\n')
    assert state.kept() == []
    state.keep(kept)
    assert state.kept() == ["a"]
    read = state.bundle("a")
    assert replace(read, release=read.release.model_copy(update={"sums": ""})) == kept
    folder = state.bundle_folder("a")
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "env": 0o600, "blue.yml": 0o600, "routes.blue.conf": 0o600, "release.json": 0o600, "SHA256SUMS": 0o600,
    }  # fmt: skip
    before = (folder / "SHA256SUMS").read_text()
    state.keep(replace(kept, files=dict(reversed([*kept.files.items()]))))
    assert (folder / "SHA256SUMS").read_text() == before, "to write it again, in whatever order, changes no sums"
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)  # by hand, too


def test_half_a_bundle_is_none(state: State) -> None:
    state.host.write(state.bundle_folder("a") / "env", "A=1", mode=0o600)
    with pytest.raises(Refused, match="no release a"):
        state.bundle("a")


def test_a_broken_bundle_names_its_file(state: State) -> None:
    state.host.write(state.bundle_folder("a") / "release.json", '{"id": "a"}')
    with pytest.raises(OpsError, match=r"release\.json"):
        state.bundle("a")


def test_schema_round_trip(state: State) -> None:
    assert state.schema() is None
    state.keep_schema(Schema(revision="2", serves=("2", "1"), release="a"))
    assert state.schema() == Schema(revision="2", serves=("2", "1"), release="a")


def test_served_is_newest_first_and_each_once(state: State) -> None:
    for name, outcome in (("a", "in service"), ("b", "in service"), ("c", "failed"), ("a", "in service")):
        state.record(record(name, outcome))
    assert state.served() == ["a", "b"]
    assert [entry.release for entry in state.ledger()] == ["a", "b", "c", "a"]


@pytest.mark.parametrize("keep", [1, 40, -2], ids=["one letter", "half a line", "no end"])
def test_a_line_that_a_crash_cut_short_is_left_out_and_does_no_harm(state: State, keep: int) -> None:
    state.record(record("a"))
    with (state.folder / "ledger.jsonl").open("a") as file:
        file.write((record("cut").model_dump_json() + "\n")[:keep])
    assert state.served() == ["a"]
    state.record(record("b"))
    state.record(record("c"))
    assert state.served() == ["c", "b", "a"]


@pytest.mark.parametrize("name", ["ledger.jsonl", "journal.jsonl"])
def test_a_line_that_was_cut_inside_a_letter_is_left_out_too(state: State, name: str) -> None:
    state.record(record("a"))
    state.note(step="X")
    found = state.ledger(), [*state.journal()]
    with (state.folder / name).open("ab") as file:
        file.write('{"who": "jü'.encode()[:-1])
    assert (state.ledger(), [*state.journal()]) == found
    state.record(record("b"))
    state.note(step="Y")
    assert (len(state.ledger()), len([*state.journal()])) == (2, 2)


def test_lines_that_cannot_be_read_are_passed_over_with_one_warning(
    state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    state.record(record("a"))
    for line in ('{"release": "b"}', "\0" * 40, "7"):
        state.host.append(state.folder / "ledger.jsonl", line)
    state.record(record("c"))
    assert [entry.release for entry in (*state.ledger(), *state.ledger())] == ["a", "c"] * 2
    assert capsys.readouterr().err.count("ledger.jsonl: lines 2, 3, 4 cannot be read, and passed over") == 1


def test_a_copy_of_lines_that_cannot_be_read_is_kept_by_what_writes_and_by_no_look(state: State) -> None:
    """Also of a last one without its end, which the next line replaces."""
    path, copy = state.folder / "ledger.jsonl", state.folder / "ledger.jsonl.damaged"
    state.record(record("a"))
    with path.open("ab") as file:
        file.write(b'{"release": "\xff"}\n' + b"\0" * 20)
    state.ledger()
    assert not copy.exists()
    for name in ("b", "c"):
        state.record(record(name))
    assert copy.read_text() == '{"release": "\\xff"}\n' + "\0" * 20 + "\n"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert b'{"release": "\xff"}\n' in path.read_bytes(), "nothing is taken out of the ledger"
    assert [entry.release for entry in state.ledger()] == ["a", "b", "c"]


def test_a_copy_that_cannot_be_kept_is_a_warning(state: State, capsys: pytest.CaptureFixture[str]) -> None:
    state.host.append(state.folder / "ledger.jsonl", "{}")
    (state.folder / "ledger.jsonl.damaged").mkdir()
    state.record(record("a"))
    assert "no copy is kept" in capsys.readouterr().err
    assert state.served() == ["a"]


@pytest.mark.parametrize(("lines", "accepted"), [
    ("a.", None), ("a.b", "b"), (".a", "a"), ("ab", "b"), ("a.B", None), ("", None),
])  # fmt: skip
def test_what_a_line_that_cannot_be_read_may_name_is_not_taken_for_known(
    state: State, lines: str, accepted: str | None
) -> None:
    for name in lines:  # a capital letter failed
        entry = record(name.lower(), "failed" if name.isupper() else "in service")
        state.host.append(state.folder / "ledger.jsonl", "\0" if name == "." else entry.model_dump_json())
    assert state.read_ledger().accepted == accepted


def test_the_journal_is_one_json_document_a_line(state: State) -> None:
    state.note(step="X", details={"a": "b\nc"})
    state.note(step="Y")
    lines = [json.loads(line) for line in (state.folder / "journal.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["X", "Y"]


@pytest.mark.parametrize(("code", "well"), [(0, True), (1, False)])
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path, code: int, well: bool) -> None:
    class Account(LocalHost):
        def try_run(self, wanted: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
            folder = wanted.argv[-1]
            assert super().try_run(wanted).returncode == 0, (
                "root may; the script finds the nearest folder that is there"
            )
            return Result(code, "", folder)

    with nullcontext() if well else pytest.raises(Refused, match="cannot be written by this account"):
        require_folder(tmp_path / "not" / "yet", Account())


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    argv = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_operator_learns_who_holds_the_lock(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Locked) as raised, locks.held([LocalHost()], tmp_path, "rollback"):
        pass
    assert locks.who() in str(raised.value)
    assert f"process {holder.pid}" in str(raised.value)
    assert "deploy" in str(raised.value)
    assert raised.value.code == 4


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert wait_until(
        lambda: locks.holder(LocalHost(), tmp_path) is None, 5
    )  # what it had started there sees that it is gone
    with locks.held([LocalHost()], tmp_path, "rollback"):
        assert "rollback since" in str(locks.holder(LocalHost(), tmp_path))
    assert locks.holder(LocalHost(), tmp_path) is None


def test_the_lock_is_freed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locks.held([LocalHost()], tmp_path, "deploy"):
        raise RuntimeError
    with locks.held([LocalHost()], tmp_path, "deploy"):
        pass


def test_commands_of_one_who_lost_the_lock_are_refused(tmp_path: Path) -> None:
    """A laptop that slept, or a network that was cut: another may be at work now."""
    host = LocalHost()
    with locks.held([host], tmp_path, "deploy"):
        assert host.run(command("echo", "a  b", "$x")) == "a  b $x\n"
        found = locks.holder(host, tmp_path)
        assert found
        assert locks.end(host, tmp_path, found)
        with pytest.raises(Interrupted, match="the lock was lost"):
            host.run(command("echo"))
    assert host.run(command("echo")) == "\n"


def test_who_is_silent_loses_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SILENCE_SECONDS", 1)
    with locks.held([LocalHost()], tmp_path, "deploy"):
        assert wait_until(lambda: locks.holder(LocalHost(), tmp_path) is None, 5)


def test_what_the_one_before_began_is_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = LocalHost(), LocalHost()
    with locks.held([first], tmp_path, "deploy"):
        working = first.open(command("sh", "-c", "echo begun; sleep 1"))
        assert working.stdout
        assert working.stdout.readline() == b"begun\n"
        found = locks.holder(second, tmp_path)
        assert found
        assert locks.end(second, tmp_path, found)
    with locks.held([second], tmp_path, "resume"), working:
        assert working.wait(0.1) == 0
    assert "wait for what the operator before has begun" in capsys.readouterr().err


def test_the_lock_is_held_on_a_full_disk_too(tmp_path: Path) -> None:
    """Or `inv prune` could not make room."""
    host, disk = LocalHost(), tmp_path / "disk"
    disk.mkdir()
    host.run(command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)))
    try:
        with locks.held([host], disk, "deploy"):
            pass
        with suppress(OSError):
            (disk / "filler").write_bytes(b"x" * 100_000)
        with locks.held([host], disk, "prune"):
            assert "prune since" in str(locks.holder(host, disk))
            with pytest.raises(Locked, match="prune since"), locks.held([LocalHost()], disk, "deploy"):
                pass
    finally:
        host.run(command("umount", str(disk)))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"who": "x"}'])
def test_a_holder_that_left_no_name_is_another_operator(text: str) -> None:
    assert locks.describe(text) == "locked by another operator"


class Counted(BytesIO):
    """A file that counts the bytes which are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


@pytest.mark.parametrize("torn", [b"", b"x" * 9, b"x" * 9000])
def test_a_line_is_added_without_reading_what_is_there(torn: bytes) -> None:
    lines = b"a line\n" * 100_000
    file = Counted(lines + torn)
    assert end_of_lines(file) == len(lines)
    assert file.count <= len(torn) + BLOCK
    assert end_of_lines(BytesIO(torn)) == 0
