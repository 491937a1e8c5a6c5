"""A moment of the database on a host whose engine is a script: what is asked for, what is refused before that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.backups import moment
from deploy.core.errors import OpsError, Refused
from tests.flow.test_drill import MANIFEST, Host, Place
from tests.support import backed_up
from tests.unit.test_wal import stretch

RECEIVER = "  wal: {image: app/backup, x-deploy: {role: wal}, networks: {data: null}}\n"
COMPOSE = backed_up.COMPOSE.replace("networks: {edge: {}, data", f"{RECEIVER}networks: {{edge: {{}}, data")
BASE = "2026-11-30T10:00:00.500000Z"


class Receiver(Host):
    """Has received WAL of one server, from ten to twelve, and recovers what it is asked for."""

    def answer(self, argv: tuple[str, ...]) -> str:
        if argv[-1] == "held":
            return "\n".join(stretch(2, 3))
        if "recover" in argv:
            return f"2026-11-30T11:59:58.250000Z\n{MANIFEST.model_dump_json()}\n"
        if "take" in argv:
            return f"{MANIFEST.model_dump_json()}\n{json.dumps({'snapshot_id': 'feed1234' * 8})}\n"
        return super().answer(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An environment whose WAL is received; what is restored is only noted."""
    monkeypatch.setattr("tests.flow.test_drill.Host", Receiver)
    made = Place(tmp_path, COMPOSE)
    monkeypatch.setattr(moment, "repository_of", lambda _: made.repository)
    monkeypatch.setattr(moment, "require_nothing_interrupted", lambda _: None)
    monkeypatch.setattr(moment, "restore", lambda _, point, **__: made.host.executed.append(f"restore {point}"))
    monkeypatch.setattr(moment, "backup", lambda _: made.host.executed.append("backup"))
    return made


def programs(place: Place) -> list[str]:
    """The programs that were run, with their words."""
    return [line.partition("--no-deps ")[2] or line for line in place.host.executed]


def test_a_moment_becomes_a_recovery_point_which_is_restored_and_a_backup_follows(place: Place) -> None:
    moment.restore_moment(place.at, "2026-11-30 12:15:00.5+01:00")
    name = place.settings.name
    assert programs(place) == [
        "wal held",
        f"--name {name}-recovery wal recover 000001 {BASE} '2026-11-30 11:15:00.500000+00'",
        f"--name {name}-backup backup take {name} recovery-point '2026-11-30 11:15:00'",
        "restore feed1234",
        "backup",
    ]
    line = place.evidence.lines()[-1]
    assert (line.point, line.state, line.release) == ("feed1234", "taken", ""), "which release served then is not known"
    assert line.detail == "as of 2026-11-30 11:15:00.5 UTC, recovered from WAL"


def test_the_last_commit_stands_at_its_own_time(place: Place) -> None:
    moment.restore_moment(place.at, "latest")
    assert any(line.endswith(f"recover 000001 {BASE} end") for line in place.host.executed)
    assert any(line.endswith("recovery-point '2026-11-30 11:59:58'") for line in place.host.executed)


def test_a_moment_before_the_first_commit_after_the_base_backup_needs_no_commit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Receiver.answer

    def without_commit(self: Receiver, argv: tuple[str, ...]) -> str:
        return f"\n{MANIFEST.model_dump_json()}\n" if "recover" in argv else answer(self, argv)

    monkeypatch.setattr(Receiver, "answer", without_commit)
    moment.restore_moment(place.at, "2026-11-30 10:00:00.5")
    assert any(line.endswith("recovery-point '2026-11-30 10:00:00'") for line in place.host.executed)


@pytest.mark.parametrize("text", ["2026-11-30 09:00:00", "2026-11-30 12:00:01"], ids=["before", "after"])
def test_a_moment_that_is_not_held_is_refused_before_anything_is_made(place: Place, text: str) -> None:
    with pytest.raises(Refused, match=r"2026-11-30 10:00:00\.5 UTC to 2026-11-30 12:00:00 UTC"):
        moment.restore_moment(place.at, text)
    assert programs(place) == ["wal held"]


def test_without_a_receiver_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Place(tmp_path)
    monkeypatch.setattr(moment, "repository_of", lambda _: made.repository)
    monkeypatch.setattr(moment, "require_nothing_interrupted", lambda _: None)
    with pytest.raises(Refused) as refused:
        moment.restore_moment(made.at, "latest")
    assert refused.value.slug == "no-wal"
    assert "docker/compose.wal.yml" in refused.value.then


def test_a_recovery_that_fails_changes_nothing(place: Place) -> None:
    place.host.fails = ("recover",)
    with pytest.raises(OpsError, match="recover failed"):
        moment.restore_moment(place.at, "2026-11-30 11:15:00")
    assert not [line for line in programs(place) if line.startswith(("restore", "backup"))]


def test_a_backup_that_fails_afterwards_is_a_warning(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise OpsError("the disk is full", where="app1", then="inv disk", slug="backup-failed")

    monkeypatch.setattr(moment, "backup", fail)
    moment.restore_moment(place.at, "latest")
    assert "the database was restored; the backup after it: the disk is full" in capsys.readouterr().err
