"""What this machine does as a host, and what another does over SSH, are the same."""

from __future__ import annotations

import errno
import hashlib
import http.server
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Thread

import pytest

from deploy.core.errors import CommandFailed, Interrupted, Refused
from deploy.core.poll import wait_until
from deploy.core.shell import Command, command, pipe, query
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.state import locks
from tests.support.changes import CHANGES, READS, contents, prepare
from tests.support.sshd import runs

TEXTS = ["", "one line\n", "no end", "a 'b' \"c\" $HOME `id` \\ \n-n\n\n", "tüñ 本\r\n\ttab", "x" * 300_000]
NAMES = ["plain", "-rf", "with space", 'it\'s "$HOME" `id`', "two\nlines", "tüñ", "*"]


@pytest.fixture(params=["local", "ssh"])
def host(request: pytest.FixtureRequest) -> Host:
    found: Host = LocalHost() if request.param == "local" else request.getfixturevalue("remote")
    return found


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("UNKNOWN: only root may mount a disk that is full")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_command_and_what_it_left(host: Host) -> None:
    done = host.try_run(
        command("sh", "-c", 'printf "%s|" "$@" "$A"; echo err >&2; exit 3', "sh", "a b", "$x'\"", "", "-n", A="v 'w'\n")
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "a b|$x'\"||-n|v 'w'\n|", "err\n")
    with pytest.raises(CommandFailed, match="ended with 3"):
        host.run(command("sh", "-c", "exit 3"))


def test_input_and_output_that_is_large_or_no_text(host: Host) -> None:
    text = "line\n" * 1_000_000
    assert host.run(command("cat"), stdin=text) == text
    assert host.run(command("printf", r"\377\n")) == "\\xff\n"
    assert host.try_run(command("true"), stdin=text).returncode == 0
    assert host.run(command("cat")) == ""


def test_a_program_that_is_not_there_is_refused(host: Host) -> None:
    with pytest.raises(Refused, match="`no such program` is not installed"):
        host.try_run(command("no such program"))
    assert host.try_run(command("sh", "-c", "no-such-program")).returncode == 127


def test_a_command_that_takes_too_long_is_ended(host: Host, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no end after 1 s") as raised:
        host.run(command("sh", "-c", 'echo $$ >"$1"; exec sleep 60', "sh", str(tmp_path / "pid")), timeout=0.9)
    assert raised.value.returncode == 124
    assert wait_until(lambda: not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists(), 30)
    assert host.try_run(command("sh", "-c", "exit 124")).returncode == 124


@pytest.mark.parametrize("name", NAMES)
def test_files_of_any_name(host: Host, tmp_path: Path, name: str) -> None:
    path = tmp_path / "new folder" / name
    assert (host.read(path), host.listdir(path.parent)) == (None, [])
    for text in TEXTS:
        host.write(path, text)
        assert path.read_bytes() == text.encode()
        assert host.read(path) == text
    assert host.listdir(path.parent) == [name]
    host.remove(path)
    host.remove(path)
    assert host.listdir(path.parent) == []


def test_modes_whatever_the_umask(host: Host, tmp_path: Path) -> None:
    host.write(tmp_path / "a" / "b" / "open", "x")
    host.write(tmp_path / "a" / "closed", "x", mode=0o600)
    host.append(tmp_path / "c" / "journal", "x")
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/open": 0o644, "a/closed": 0o600, "c": 0o755, "c/journal": 0o644}
    host.write(tmp_path / "a" / "closed", "y")
    assert stat.S_IMODE((tmp_path / "a" / "closed").stat().st_mode) == 0o644


@pytest.mark.parametrize("half", [b"", b"ha", b"half\0\0", b"\xff", b"a\nhalf"], ids=repr)
def test_append_after_a_half_line(host: Host, tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "journal"
    host.append(path, "one 'x' $y")
    with path.open("ab") as file:
        file.write(half)
    host.append(path, "two")
    assert path.read_bytes() == b"one 'x' $y\n" + half[: half.rfind(b"\n") + 1] + b"two\n"


def repeat(host: Host, path: Path, letters: str, times: int, mode: int = 0o644) -> None:
    for letter in letters:
        host.write(path, letter * times, mode=mode)


def test_a_reader_sees_the_old_text_or_the_new(host: Host, tmp_path: Path) -> None:
    path, seen = tmp_path / "f", set()
    host.write(path, "a" * 50_000)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(repeat, host, path, "bcd", 50_000)
        while not writing.done():
            seen.add(path.read_text())
    assert {(len(text), len(set(text))) for text in seen} == {(50_000, 1)}


def test_a_secret_is_not_readable_by_others_for_a_moment(host: Host, tmp_path: Path) -> None:
    seen = set()
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(repeat, host, tmp_path / "env", "xxxxx", 3_000_000, mode=0o600)
        while not writing.done():
            for path in tmp_path.iterdir():
                with suppress(FileNotFoundError):
                    seen.add(stat.S_IMODE(path.stat().st_mode))
    assert seen == {0o600}


def test_links(host: Host, tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    assert host.readlink(tmp_path / "link") is None
    for target in ("1", "it's $two"):
        host.symlink(tmp_path / "link", target)
        assert (host.readlink(tmp_path / "link"), (tmp_path / "link").readlink()) == (target, Path(target))
    host.symlink(tmp_path / "link", "1")
    (tmp_path / "1" / "kept").touch()
    host.remove(tmp_path / "link")
    assert host.listdir(tmp_path / "1") == ["kept"]
    assert host.readlink(tmp_path / "1") is None


def test_a_full_disk_is_an_os_error_and_the_old_text_stays(host: Host, small_disk: Path) -> None:
    host.write(small_disk / "f", "old\n")
    for act in (host.write, host.append):
        with pytest.raises(OSError, match="No space left on device") as raised:
            act(small_disk / "f", "x" * 100_000)
        assert raised.value.errno == errno.ENOSPC
    assert host.free_bytes(small_disk / "not" / "there") < 65536 < host.free_bytes(small_disk.parent)
    assert (host.read(small_disk / "f") or "").startswith("old\n")


def test_other_failures_of_files(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xff")
    with pytest.raises(IsADirectoryError):
        host.read(tmp_path)
    assert host.read(tmp_path / "file") == "\\xff", (
        "whoever reads what a crash cut in a letter judges it as any other line"
    )
    with pytest.raises(FileNotFoundError):
        host.symlink(tmp_path / "no" / "link", "x")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        host.write(tmp_path / "file" / "below", "x")


def test_the_output_of_a_program_while_it_runs(host: Host, tmp_path: Path) -> None:
    waiting = 'echo one; echo two >&2; until [ -e "$1" ]; do sleep 0.05; done; echo three; exit 4'
    with host.open(command("sh", "-c", waiting, "sh", str(tmp_path / "go"))) as process:
        lines = iter(process.stdout or ())
        assert [next(lines), next(lines)] == [b"one\n", b"two\n"]
        assert process.returncode is None
        host.write(tmp_path / "go", "")
        assert list(lines) == [b"three\n"]
    assert process.returncode == 4
    assert process.wait(1) == 4


def test_a_program_that_is_fed(host: Host) -> None:
    with host.open(command("tr", "a-z", "A-Z"), stdin_open=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"abc\xff\n")
        process.stdin.flush()
        process.stdin.close()
        assert process.stdout.read() == b"ABC\xff\n"
    assert process.returncode == 0


def test_bytes_are_kept_as_they_are(host: Host, tmp_path: Path) -> None:
    data = os.urandom(300_000) + b"\r\n\0"
    host.write_bytes(tmp_path / "dump", data, mode=0o600)
    assert host.read_bytes(tmp_path / "dump") == data
    assert stat.S_IMODE((tmp_path / "dump").stat().st_mode) == 0o600
    assert host.read_bytes(tmp_path / "none") is None


def test_a_stream_of_bytes_arrives_whole_and_stderr_apart(host: Host, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(os.urandom(64 << 20))
    line, digest = 'echo begins >&2; cat "$0"; echo ends >&2', hashlib.sha256()
    with host.stream(command("sh", "-c", line, str(tmp_path / "dump"))) as process:
        while data := process.stdout.read(1 << 20) if process.stdout else b"":
            digest.update(data)
        process.wait(30)
        assert process.error_output == "begins\nends\n"
    with (tmp_path / "dump").open("rb") as file:
        assert digest.hexdigest() == hashlib.file_digest(file, "sha256").hexdigest()


def test_a_stream_into_a_program(host: Host, tmp_path: Path) -> None:
    data = os.urandom(64 << 20)
    with host.stream(
        pipe(query("cat"), command("dd", f"of={tmp_path / 'restored'}", "status=none", "bs=64k")), stdin_open=True
    ) as process:
        assert process.stdin
        process.stdin.write(data)
    assert (tmp_path / "restored").read_bytes() == data


def test_a_stream_waits_for_its_reader(host: Host, tmp_path: Path) -> None:
    line = 'head -c 100000000 /dev/zero | tee "$0"'
    with host.stream(command("sh", "-c", line, str(tmp_path / "printed"))) as process:
        assert process.stdout
        process.stdout.read(1)
        assert not wait_until(lambda: (tmp_path / "printed").stat().st_size > 32 << 20, 1)
        process.terminate()


def read_all(host: Host, wanted: Command) -> None:
    with host.stream(wanted) as process:
        assert process.stdout
        assert process.stdout.read() == b"part\n"


def test_a_stream_that_fails_says_its_code_and_its_stderr(host: Host) -> None:
    wanted = command("sh", "-c", "echo part; echo no such table >&2; exit 3")
    for joined in (wanted, pipe(wanted, query("cat"))):
        with pytest.raises(CommandFailed, match=r"(?s)ended with 3.*no such table") as failed:
            read_all(host, joined)
        assert (failed.value.returncode, failed.value.where) == (3, host.name)
    with pytest.raises(KeyError), host.stream(command("sh", "-c", "exit 3")):
        raise KeyError


def feed_what_has_ended(host: Host, wanted: Command, size: int) -> None:
    with host.stream(wanted, stdin_open=True) as process:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.wait(10)
        process.stdin.write(b"x" * size)


@pytest.mark.parametrize("size", [1, 64 << 20], ids=["little", "much"])
def test_a_stream_into_a_program_that_fails_says_its_code_and_its_stderr(host: Host, size: int) -> None:
    wanted = command("sh", "-c", "read -r _; echo no such table >&2; exit 3")
    with pytest.raises(CommandFailed, match=r"(?s)ended with 3.*no such table"):
        feed_what_has_ended(host, wanted, size)


def test_much_on_stderr_stops_no_stream(host: Host) -> None:
    with host.stream(command("sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x >&2; echo done")) as process:
        assert process.stdout
        assert process.stdout.read() == b"done\n"
    assert 0 < len(process.error_output) < 1 << 17


def test_a_stream_that_is_left_ends_its_program_with_what_it_started(host: Host) -> None:
    with suppress(KeyError), host.stream(pipe(command("sleep", "74.5"), query("cat"))):
        assert wait_until(lambda: runs("sleep 74.5"), 60)
        raise KeyError
    assert wait_until(lambda: not runs("sleep 74.5"), 30)


def test_lines_of_progress_while_a_program_works(host: Host, tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []
    line = "echo 1 >&2; echo out; pwd >&2; sleep 1; touch ended; exit 4"
    done = host.watch(
        command("sh", "-c", line), lambda text: seen.append((text, (tmp_path / "ended").exists())), folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (4, f"1\n{tmp_path}\n")
    assert seen == [("1\n", False), (f"{tmp_path}\n", False)]


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whoever_lost_the_lock_changes_nothing(
    host: Host, tmp_path: Path, change: Callable[[Host, Path], object]
) -> None:
    folder = prepare(tmp_path / "place")
    before, here = contents(folder), LocalHost()
    with locks.held([host], tmp_path, "deploy"):
        found = locks.holder(here, tmp_path)
        assert found
        assert locks.end(here, tmp_path, found)
        for taken in (False, True):
            with locks.held([LocalHost()], tmp_path, "resume") if taken else nullcontext():
                with pytest.raises(Interrupted, match="the lock was lost"):
                    change(host, folder)
                assert contents(folder) == before
        for name, read in READS.items():
            assert read(host, folder) == read(here, folder), name
    change(host, folder)
    assert not folder.exists() or contents(folder) != before


def test_terminate_ends_it_with_what_it_started(host: Host, tmp_path: Path) -> None:
    with host.open(command("sleep", "71.5")) as process:
        assert wait_until(lambda: runs("sleep 71.5"), 60)
        process.terminate()
        assert process.wait(5) != 0
    assert not runs("sleep 71.5")


def test_its_own_loopback(host: Host) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as answering:
        Thread(target=answering.serve_forever, daemon=True).start()
        port = answering.server_port
        assert host.get(port, "/x?y=1", host="shop.test") == (200, "/x?y=1 shop.test" + "z" * 100_000)
        assert not host.port_is_free("127.0.0.1", port)
        assert host.get(port, "/slow", timeout=0.5)[0] == 0
        answering.shutdown()
    assert host.get(port, "/")[0] == 0
    assert host.port_is_free("0.0.0.0", port)


def test_the_engine(host: Host) -> None:
    host.engine.require()
    assert host.engine.inspect("there-is-no-such-container") is None
    assert host.engine.folder().is_absolute()
    assert "bridge" in host.engine.resources()


def test_memory(host: Host) -> None:
    assert host.free_memory() > 1 << 20


class Answer(http.server.BaseHTTPRequestHandler):
    """Says what it was asked."""

    def do_GET(self) -> None:  # the library's name
        time.sleep(2 * (self.path == "/slow"))
        body = f"{self.path} {self.headers['Host']}".encode() + b"z" * 100_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(BrokenPipeError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
