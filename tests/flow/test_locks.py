"""Who may change an environment, and what waits for a dump."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.core.errors import Interrupted, Locked
from deploy.core.poll import wait_until
from deploy.core.shell import Command, Result, command, pipe
from deploy.hosts.local import LocalHost
from deploy.insight import status
from deploy.rollout import takedown, unlock
from deploy.rollout.apply import Outcome
from deploy.site.run import Fleet, Run
from deploy.state import locks
from tests.support.changes import CHANGES, READS, contents, prepare
from tests.support.place import FAST, Place, applied, bundled, whole
from tests.support.samples import settings

HOLD = """
import pathlib, sys
from deploy.hosts.local import LocalHost
from deploy.state import locks
with locks.held([LocalHost()], pathlib.Path(sys.argv[1]), "backup", sys.argv[2]):
    print("held", flush=True)
    input()
"""
# what an operator runs whose toolkit knows one lock
OLD_HOLD = """
trap "" INT
mkdir -p "$1" && cd "$1" && exec 9<>lock 8<>changing || exit 1
flock --nonblock 9 || exit 75
flock --nonblock 8 || { echo waiting; flock --wait "$4" 8 || exit 76; }
flock --unlock 8
printf '%-500s\\n' "$$ $2" | dd of=lock conv=notrunc 2>/dev/null
echo held $$
while timeout "$3" sh -c 'read beat' 8<&- 9<&-; do touch lock; done
"""


@contextmanager
def another(folder: Path, name: str = "dump") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock."""
    argv = [sys.executable, "-c", HOLD, str(folder), name]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def lose(folder: Path, name: locks.Name = "change") -> None:
    """End the holder of a lock."""
    found = locks.holder(LocalHost(), folder, name)
    assert found
    assert locks.end(LocalHost(), folder, found)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whoever_lost_the_lock_changes_nothing(tmp_path: Path, change: object) -> None:
    """A laptop that slept, or a network that was cut: another may be at work now."""
    host, folder = LocalHost(), prepare(tmp_path / "place")
    before = contents(folder)
    with locks.held([host], tmp_path, "deploy"):
        lose(tmp_path)
        for taken in (False, True):
            with locks.held([LocalHost()], tmp_path, "resume") if taken else nullcontext():
                with pytest.raises(Interrupted, match="the lock was lost"):
                    change(host, folder)  # type: ignore[operator]  # parametrize has no types
                assert contents(folder) == before
    change(host, folder)  # type: ignore[operator]  # see above
    assert not folder.exists() or contents(folder) != before


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whoever_lost_the_lock_may_read(tmp_path: Path, read: object) -> None:
    host, folder = LocalHost(), prepare(tmp_path / "place")
    before = read(host, folder)  # type: ignore[operator]  # parametrize has no types
    with locks.held([host], tmp_path, "deploy"):
        lose(tmp_path)
        assert read(host, folder) == before  # type: ignore[operator]  # see above


def test_of_two_locks_the_loss_of_either_is_noticed(tmp_path: Path) -> None:
    host = LocalHost()
    for name in locks.LOCKS:
        with locks.held([host], tmp_path, "deploy"), locks.held([host], tmp_path, "migrate", "dump"):
            host.run(command("true"))
            host.write(tmp_path / "file", "")
            lose(tmp_path, name)
            for change in (lambda: host.run(command("true")), lambda: host.write(tmp_path / "file", "")):
                with pytest.raises(Interrupted):
                    change()


def test_a_file_that_is_being_changed_is_waited_for(tmp_path: Path) -> None:
    """The lock may be lost between the look at it and the change."""
    first, second, begun = LocalHost(), LocalHost(), Event()

    def next_one() -> None:
        with locks.held([second], tmp_path, "resume"):
            begun.set()

    with locks.held([first], tmp_path, "deploy"):
        with first.changing():
            lose(tmp_path)
            waiting = Thread(target=next_one)
            waiting.start()
            assert not begun.wait(0.5)
        assert begun.wait(20)
        waiting.join()


def test_who_ends_while_they_are_looked_at_holds_nothing(tmp_path: Path) -> None:
    class Late(LocalHost):
        def read_bytes(self, path: Path) -> bytes | None:
            data = super().read_bytes(path)
            if path.name == "cmdline":
                os.kill(int(path.parent.name), signal.SIGKILL)
                assert wait_until(lambda: not super(Late, self).read_bytes(path), 10)
            return data

    host = Late()
    with locks.held([host], tmp_path, "deploy"):
        found = locks.holder(host, tmp_path)
        assert found, "it was there when it was asked for"
        assert locks.holder(host, tmp_path) is None


def test_each_lock_has_its_own_holder(tmp_path: Path) -> None:
    host = LocalHost()
    with another(tmp_path):
        with locks.held([host], tmp_path, "deploy"):
            assert ["deploy since" in one.words for one in locks.holders(host, tmp_path)] == [True, False]
            assert [one.lock for one in locks.holders(host, tmp_path)] == ["change", "dump"]
        with (
            pytest.raises(Locked, match=r"the lock `dump` is held by .*: backup since") as held,
            locks.held([host], tmp_path, "x", "dump"),
        ):
            pass
        assert held.value.code == 4
        assert held.value.where == f"localhost: {tmp_path}/lock.dump"


def test_what_a_dump_runs_keeps_nobody_from_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = LocalHost(), LocalHost()
    with (
        locks.held([first], tmp_path, "backup", "dump"),
        first.open(command("sh", "-c", "echo begun; exec sleep 60")) as dump,
    ):
        assert dump.stdout
        assert dump.stdout.readline() == b"begun\n"
        with locks.held([second], tmp_path, "deploy"):
            second.run(command("true"))
        lose(tmp_path, "dump")
        with pytest.raises(Locked, match="what the holder of the lock `dump` before had begun still runs"):
            locks.held([second], tmp_path, "migrate", "dump").__enter__()
        dump.terminate()
    assert "wait for what" in capsys.readouterr().err


def is_locked(file: Path) -> bool:
    """Tell by the kernel's table whether a file is locked: to try would take the lock from who is about to."""
    inode = f":{file.stat().st_ino} "
    return any("FLOCK" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_who_is_killed_while_they_wait_for_what_was_begun_takes_the_lock_for_nobody(
    tmp_path: Path, ending: signal.Signals
) -> None:
    before = LocalHost()
    argv = [sys.executable, "-c", HOLD, str(tmp_path), "change"]
    with ExitStack() as stack:
        with locks.held([before], tmp_path, "deploy"):
            begun = stack.enter_context(before.open(command("sh", "-c", "echo begun; exec sleep 60")))
            stack.callback(begun.terminate)
            assert begun.stdout
            assert begun.stdout.readline() == b"begun\n"
        free = ["flock", "--nonblock", str(tmp_path / "lock"), "true"]
        with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE) as waiting:
            assert wait_until(lambda: is_locked(tmp_path / "lock"), 60)
            waiting.send_signal(ending)
        assert wait_until(lambda: subprocess.run(free).returncode == 0, 60)


def test_a_holder_who_could_not_say_who_they_are_is_waited_for_in_one_breath(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk nothing of it is written; nor by one who waits themselves for what was begun before."""
    held = command("flock", str(tmp_path / "lock.dump"), "sh", "-c", "echo held; exec sleep 1.5")
    with LocalHost().open(held) as holding:
        assert holding.stdout
        assert holding.stdout.readline() == b"held\n"
        with locks.held([LocalHost()], tmp_path, "migrate", "dump", 20):
            pass
    assert capsys.readouterr().err.count("wait on localhost") == 1


def test_a_lock_that_the_kernel_frees_a_moment_after_its_holder_ended_refuses_nobody(tmp_path: Path) -> None:
    with LocalHost().open(command("flock", str(tmp_path / "lock"), "sh", "-c", "echo held; exec sleep 0.2")) as holding:
        assert holding.stdout
        assert holding.stdout.readline() == b"held\n"
        with locks.held([LocalHost()], tmp_path, "deploy"):
            pass


def test_an_operator_whose_toolkit_knows_one_lock_excludes_a_change_and_is_excluded(tmp_path: Path) -> None:
    host, old = LocalHost(), ("sh", "-c", OLD_HOLD, "token", str(tmp_path), '{"who": "ann"}', "15", "900")
    with locks.held([host], tmp_path, "deploy"):
        assert subprocess.run(old, stdin=subprocess.DEVNULL).returncode == 75
    with (
        locks.held([host], tmp_path, "backup", "dump"),
        subprocess.Popen(old, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holding,
    ):
        assert holding.stdout
        assert holding.stdout.readline().startswith(b"held ")
        assert locks.holder(host, tmp_path)
        with pytest.raises(Locked, match="locked by another operator"), locks.held([host], tmp_path, "deploy"):
            pass
        holding.communicate()


FLASK = ("flask", "db", "upgrade")  # which nobody can ask what is pending


class Migrating(Place):
    """An environment whose releases migrate by a tool that says nothing of its migrations."""

    def deploy(self, name: str, **more: Any) -> Outcome:
        """Deploy a release."""
        return self.deploy_with(name, FLASK, **more)

    def deploy_with(
        self, name: str, migrate: tuple[str, ...], migrations: tuple[str, ...] = (), **more: Any
    ) -> Outcome:
        """Deploy a release that migrates by a command, or by a job of its own, and may list its migrations."""
        bundle = bundled(name)
        blocks = {"backend": {"migrate": migrate, "migrations": migrations}}
        services = tuple(
            one.model_copy(update={"deploy": one.deploy.model_copy(update=blocks.get(one.name, {}))})
            for one in bundle.release.services
        )
        bundle = replace(bundle, release=bundle.release.model_copy(update={"services": services}))
        self.state.keep(bundle)
        return applied(Fleet(self.at, (Run(self.settings, self.host, bundle),)), "deploy", **more)


@pytest.fixture
def place(tmp_path: Path) -> Migrating:
    """A release in service, and little patience with dumps."""
    made = Migrating(tmp_path)
    made.settings = settings(ROOT, state=tmp_path, rollout={**FAST, "wait_for_dump": 0.5})
    made.at = Environment(made.settings, made.host, (made.host,))
    made.deploy("r1")
    return made


@pytest.mark.parametrize("migrate", [(), ("alembic", "upgrade", "head")], ids=["by nothing", "nothing is pending"])
def test_a_deploy_that_does_not_migrate_goes_on_beside_a_dump(place: Migrating, migrate: tuple[str, ...]) -> None:
    with another(place.state.folder):
        place.deploy_with("r2", migrate)
    assert (place.serving(), place.running()) == ("r2", whole("r2"))


def test_a_job_that_migrates_waits_for_a_dump_too(place: Migrating, monkeypatch: pytest.MonkeyPatch) -> None:
    try_run = place.host.try_run

    def listed(command: Command, **more: Any) -> Result:
        return Result(0, "1_books\n", "") if command.argv[-1] == "migrations" else try_run(command, **more)

    monkeypatch.setattr(place.host, "try_run", listed)
    with another(place.state.folder), pytest.raises(Locked, match="the lock `dump` is held by"):
        place.deploy_with("r2", (), ("migrations",))
    assert (place.serving(), place.running()) == ("r1", whole("r1"))
    place.deploy_with("r2", (), ("migrations",))
    with another(place.state.folder):
        place.deploy_with("r3", (), ("migrations",))
    assert place.serving() == "r3", "the database has what it brings"


@pytest.mark.parametrize("ending", ["frees it", "kill -9"])
def test_a_migration_waits_for_a_dump_and_goes_on_when_it_ends(
    place: Place, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    place.settings = settings(ROOT, state=place.state.folder, rollout={**FAST, "wait_for_dump": 60})
    place.at = Environment(place.settings, place.host, (place.host,))
    waited, await_free = list[str](), locks.await_free
    with another(place.state.folder) as dump:

        def end(*words: object) -> bool:
            waited.append(place.journal()[-1]["state"])
            assert sum("upgrade" in line for line in place.host.executed) == 1, "that of r1"
            if ending == "kill -9":
                dump.kill()
            else:
                dump.communicate("\n")
            return await_free(*words)  # type: ignore[arg-type]  # as it was called

        monkeypatch.setattr(locks, "await_free", end)
        place.deploy("r2")
    assert waited
    assert (place.serving(), place.running()) == ("r2", whole("r2"))


def test_no_dump_begins_while_the_schema_changes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tried, try_run = list[str](), place.host.try_run

    def migrate(command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if "upgrade" in command.argv:
            with pytest.raises(Locked) as held:
                locks.held([LocalHost()], place.state.folder, "backup", "dump").__enter__()
            tried.append(held.value.what)
        return try_run(command, stdin=stdin, timeout=timeout)

    monkeypatch.setattr(place.host, "try_run", migrate)
    place.deploy("r2")
    assert "the change to r2 since" in tried[0]
    assert locks.holders(place.host, place.state.folder) == ()


def test_a_deploy_that_waits_too_long_for_a_dump_goes_back_and_names_it(place: Place) -> None:
    with another(place.state.folder) as dump, pytest.raises(Locked) as held:
        place.deploy("r2")
    output = held.value
    assert output.code == 4
    assert f"the lock `dump` is held by {locks.who()} (process {dump.pid}): backup since 20" in output.what
    assert output.where.startswith("localhost: ")
    assert "r1" in output.serves
    assert "inv deploy" in output.then
    assert (place.serving(), place.running()) == ("r1", whole("r1"))
    assert [entry.outcome for entry in place.state.ledger()] == ["in service", "failed"]
    assert place.deploy("r2").release == "r2"


def test_nothing_stops_the_data_under_a_dump(place: Place) -> None:
    data = next(container for container in place.host.engine.observed.values() if container.role == "data")
    with another(place.state.folder) as dump:
        for stop in (
            lambda: takedown.down(place.at, volumes=True),
            lambda: place.deploy("r2", recreate={place.host.name: (data.service,)}),
        ):
            with pytest.raises(Locked, match=f"the lock `dump` is held by .*{dump.pid}") as held:
                stop()
            assert held.value.code == 4
            assert (place.serving(), place.host.engine.observed[data.name].state) == ("r1", "running")
            assert "RecreateShared" not in {line.get("step") for line in place.journal()}
    takedown.down(place.at, volumes=False)
    assert locks.holders(place.host, place.state.folder) == ()


def test_status_and_unlock_speak_of_both_locks(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    with another(place.state.folder) as dump:
        with locks.held([place.host], place.state.folder, "deploy"):
            status.show(place.at, json=False)
            words = r"(?s)locked by .*: deploy since .*, step \w+, .*`dump` is held by .*: backup since [^,]*, heard"
            with pytest.raises(Locked, match=words) as held:
                unlock.unlock(place.at, yes=True)
            assert "lock.dump" in held.value.where
        output = capsys.readouterr().err
        assert "locked by" in output
        assert "the lock `dump` is held by" in output
        dump.send_signal(signal.SIGSTOP)
        os.utime(place.state.folder / "lock.dump", (0, 0))
        with locks.held([place.host], place.state.folder, "deploy"):
            assert "it was ended" in unlock.unlock(place.at, yes=True)
            assert [one.lock for one in locks.holders(place.host, place.state.folder)] == ["change"], (
                "who lives keeps theirs"
            )


@pytest.mark.parametrize(("codes", "code"), [
    ((0, 0), 0), ((3, 0), 3), ((0, 4), 4), ((3, 4), 3), ((0, 5, 0), 5), ((141, 4), 4), ((141, 0), 141), ((0, 0, 6), 6),
])  # fmt: skip
def test_a_pipe_ends_as_the_first_that_failed(codes: tuple[int, ...], code: int) -> None:
    host = LocalHost()
    done = host.try_run(
        pipe(*(command("sh", "-c", f"cat; echo x; echo e{n} >&2; exit {n}") for n in codes)), stdin="in\n"
    )
    assert done.returncode == code
    assert done.stdout == "in\n" + "x\n" * len(codes)
    assert sorted(done.stderr.split()) == sorted(f"e{n}" for n in codes)


def test_a_pipe_whose_reader_has_seen_enough_or_that_is_killed(tmp_path: Path) -> None:
    host = LocalHost()
    assert host.try_run(pipe(command("yes"), command("head", "-n", "1"))).returncode == 141
    words = ("it's $HOME", "`id`", "a  b", "", "*")
    assert host.run(pipe(command("printf", "%s|", *words), command("cat"))) == "".join(f"{word}|" for word in words)
    killed = command("sh", "-c", "kill -9 $PPID; sleep 0.1")
    assert host.try_run(pipe(command("true"), killed, command("cat"))).returncode != 0
