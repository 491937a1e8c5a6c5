"""A drill on a host whose engine is a script: what it says of each failure, and that nothing of it is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.backups import drill
from deploy.backups.points import Evidence, EvidenceFile, Manifest
from deploy.backups.repository import Repository
from deploy.config.environment import Environment
from deploy.config.settings import ROOT, Settings
from deploy.core.errors import Interrupted, Refused
from deploy.core.model import Record, Schema
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.site.run import Run
from deploy.state.store import Bundle, State
from tests.support import backed_up
from tests.support.samples import settings

MANIFEST = Manifest(
    taken="2026-11-30T00:00:00Z", server=150000, database="books", bytes=9, revision="2", rows={"public.books": 3}
)
NAMES = [
    "rows", "amcheck", "current release starts", "current release's smoke", "previous release starts",
    "previous release's smoke", "within 900 s",
]  # fmt: skip
DONE = Result(0, "", "")


class Engine:
    """An engine of which only this is asked."""

    def folder(self) -> Path:
        return Path("/")

    def inspect(self, name: str) -> None:
        return None

    def logs(self, name: str, lines: int = 15) -> str:
        return f"last words of {name}, password hunter2hunter2"


class Host(LocalHost):
    """Notes what Docker is asked for; what has all of the words in `fails` does not work."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.fails: tuple[str, ...] = ("nothing",)
        self.error: BaseException | None = None
        self.free = 10**12
        self.found = MANIFEST
        self.snapshots = 2

    @property
    def engine(self) -> Any:
        return Engine()

    def free_bytes(self, path: Path) -> int:
        return self.free

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[0] != "docker":
            return super().try_run(command, stdin=stdin, timeout=timeout)
        self.executed.append(str(command))
        if all(word in command.argv for word in self.fails):
            if self.error:
                raise self.error
            return Result(1, "", "it does not work, hunter2hunter2")
        return Result(0, self.answer(command.argv), "")

    def answer(self, argv: tuple[str, ...]) -> str:
        """Return what a program of the backup image prints."""
        if "snapshots" in argv:
            times = [f"2026-11-{20 + number}T00:00:00Z" for number in range(self.snapshots)]
            points = [
                {"short_id": f"point{n}", "time": time, "summary": {"total_bytes_processed": 5}}
                for n, time in enumerate(times)
            ]
            return json.dumps(points)
        if "databases" in argv:
            return "books\nbooks\npostgres"
        if "restore" in argv and "restic" not in argv:
            return f"{MANIFEST.model_dump_json()}\n{self.found.model_dump_json()}\n"
        return "a book of 3 chapters" if "smoke" in argv else ""


class Place:
    """An environment where r2 serves, r1 did before, and points were taken by both."""

    def __init__(self, folder: Path, text: str = backed_up.COMPOSE, **more: Any) -> None:
        self.host = Host()
        self.settings: Settings = settings(ROOT, state=folder, **more)
        self.state = State(self.host, folder)
        self.evidence = EvidenceFile(self.host, folder)
        self.at = Environment(self.settings, self.host, (self.host,))
        for name in ("r1", "r2"):
            self.keep(name, text)
        self.state.keep_schema(Schema(revision="2", serves=("2", "1"), release="r2"))
        for number, release in enumerate(("r1", "r2")):
            self.evidence.add(
                Evidence(
                    point=f"point{number}",
                    state="taken",
                    time="2026-11-30T05:00:00Z",
                    release=release,
                    manifest=MANIFEST,
                )
            )
        bundle = self.state.bundle("r2")
        (service,) = bundle.release.of("backup")
        self.repository = Repository(Run(self.settings, self.host, bundle), service)

    def keep(self, name: str, text: str) -> None:
        self.state.keep(
            Bundle(backed_up.release(name, text), backed_up.rendered(text), 'POSTGRES_PASSWORD="hunter2hunter2"\n')
        )
        record = Record(release=name, revision=name, command="deploy", outcome="in service", colour="blue",
                        generation=1, who="",
                        schema_revision=name[1:], started="2026-11-20T00:00:00Z", seconds=1,
                        commit_time="")  # fmt: skip
        self.state.record(record)

    def drill(self, wanted: str = "") -> tuple[drill.Drilled, ...]:
        return drill.drill(self.at, wanted)

    def proven(self) -> list[str]:
        return [line.point for line in self.evidence.lines() if line.state == "restored"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None) -> Place:
    made = Place(tmp_path)
    monkeypatch.setattr(drill, "repository_of", lambda _: made.repository)
    return made


def results(one: drill.Drilled) -> dict[str, str]:
    return {check.asked: check.word for check in one.checks}


def require_removed(place: Place) -> None:
    """Nothing was asked for after the project was removed, and its file is gone."""
    words = "docker compose --project-name 0-drill-shop-local down --volumes --remove-orphans --timeout 0"
    assert place.host.executed[-1] == words
    assert not (place.state.folder / "drill").exists()


def test_the_latest_point_and_an_older_one_count_once_both_releases_have_read_them(place: Place) -> None:
    latest, older = place.drill()
    assert (latest.point, older.point) == ("point1", "point0")
    assert results(latest) == results(older) == dict.fromkeys(NAMES, "PASS")
    assert (latest.state, older.state) == ("restored", "restored")
    assert place.proven() == ["point1", "point0"]
    assert "3 rows in 1 tables, schema 2, /data/uploads" in latest.checks[0].evidence
    assert latest.checks[3].evidence == "a book of 3 chapters"
    require_removed(place)


def test_what_an_earlier_drill_left_goes_before_anything_is_made(place: Place) -> None:
    place.drill("point1")
    removed, *others = place.host.executed
    assert removed.endswith("down --volumes --remove-orphans --timeout 0")
    live = [command for command in others if "--project-name shop-local " in command]
    assert [command.split("backup ")[-1].split()[:2] for command in live] == [["restic", "snapshots"]] * 2, (
        "all that touches it"
    )


@pytest.mark.parametrize(
    ("fails", "failed", "unknown"),
    [
        pytest.param(("up", "postgres"), "rows", NAMES[1:-1], id="the database does not start"),
        pytest.param(("restore", "point1"), "rows", NAMES[1:-1], id="the restore"),
        pytest.param(("amcheck",), "amcheck", [], id="amcheck"),
        pytest.param(("up", "backend-current"), NAMES[2], [NAMES[3]], id="the current release does not start"),
        pytest.param(("exec", "0-drill-shop-local-backend-current-1"), NAMES[3], [], id="its smoke command"),
        pytest.param(("up", "backend-previous"), NAMES[4], [NAMES[5]], id="the previous release does not start"),
        pytest.param(("exec", "0-drill-shop-local-backend-previous-1"), NAMES[5], [], id="its smoke command, too"),
    ],
)  # fmt: skip
def test_a_failure_is_reported_and_the_point_does_not_count(
    place: Place, fails: tuple[str, ...], failed: str, unknown: list[str]
) -> None:
    place.host.fails = fails
    (one,) = place.drill("point1")
    assert results(one) == dict.fromkeys(NAMES, "PASS") | dict.fromkeys(unknown, "UNKNOWN") | {failed: "FAIL"}
    check = next(check for check in one.checks if check.result == "FAIL")
    assert "it does not work" in check.evidence
    assert "hunter2" not in check.evidence
    assert "inv backup." in check.then
    assert (one.state, place.proven()) == ("taken", [])
    require_removed(place)


@pytest.mark.parametrize("error", [Interrupted("the lock was lost"), KeyboardInterrupt()])
def test_an_interruption_is_no_verdict_and_leaves_nothing_either(place: Place, error: BaseException) -> None:
    place.host.fails, place.host.error = ("amcheck",), error
    with pytest.raises(type(error)):
        place.drill("point1")
    assert place.proven() == []
    require_removed(place)


def test_rows_that_differ_from_the_manifest_are_a_failure(place: Place) -> None:
    place.host.found = MANIFEST.model_copy(update={"rows": {"public.books": 2}})
    (one,) = place.drill("point1")
    assert (one.checks[0].result, one.checks[0].evidence) == ("FAIL", "public.books has 2 rows, and had 3")
    assert (one.state, place.proven()) == ("taken", [])


def test_a_point_of_another_schema_is_migrated_by_the_current_release_alone(place: Place) -> None:
    place.state.keep_schema(Schema(revision="3", serves=("3", "2", "1"), release="r2"))
    (one,) = place.drill("point1")
    assert results(one) == dict.fromkeys(NAMES, "PASS")
    assert "`alembic upgrade head` was run first" in one.checks[2].evidence
    migrated = [command.split()[-4:] for command in place.host.executed if "alembic" in command]
    assert migrated == [["backend-current", "alembic", "upgrade", "head"]]


def test_a_previous_release_that_the_schema_has_left_behind_is_advice(place: Place) -> None:
    place.state.keep_schema(Schema(revision="2", serves=("2",), release="r2"))
    (one,) = place.drill("point1")
    assert results(one)[NAMES[4]] == "advice"
    assert "needs another schema, 1" in one.checks[4].evidence
    assert (one.state, place.proven()) == ("restored", ["point1"]), "a rollback to it is refused anyway"


@pytest.mark.parametrize(
    ("fails", "words"),
    [(("image", "inspect", "sha256:backend"), "the image of backend"), (("nothing",), "there is no release r1")],
)
def test_a_release_that_cannot_be_started_here_is_unknown(place: Place, fails: tuple[str, ...], words: str) -> None:
    place.host.fails = fails
    place.host.remove(place.state.bundle_folder("r1"))
    if fails != ("nothing",):
        place.keep("r1", backed_up.COMPOSE)
        place.keep("r2", backed_up.COMPOSE)
    (one,) = place.drill("point1")
    asked = next(check for check in one.checks if check.result == "UNKNOWN")
    assert words in asked.evidence
    assert (one.state, place.proven()) == ("taken", [])


def test_without_a_smoke_command_nobody_knows_whether_the_data_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, backed_up.COMPOSE.replace(", smoke: [smoke]", ""))
    monkeypatch.setattr(drill, "repository_of", lambda _: place.repository)
    (one,) = place.drill("point1")
    assert {name for name, word in results(one).items() if word == "UNKNOWN"} == {NAMES[3], NAMES[5]}
    assert "x-deploy.smoke" in one.checks[3].then
    assert place.proven() == []


def test_a_drill_that_takes_too_long_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, backup={"drill_within": 0.001})
    monkeypatch.setattr(drill, "repository_of", lambda _: place.repository)
    (one,) = place.drill("point1")
    assert (one.checks[-1].result, place.proven()) == ("FAIL", [])


def test_without_room_nothing_is_made(place: Place) -> None:
    place.host.free = 26
    with pytest.raises(Refused) as refused:
        place.drill()
    assert refused.value.slug == "disk-full"
    assert not any(" up " in command for command in place.host.executed)
    place.host.free = 27
    assert len(place.drill()) == 2, "three times the nine bytes that the database had: dump, database, WAL"


def test_without_a_point_there_is_nothing_to_drill(place: Place) -> None:
    place.host.snapshots = 0
    with pytest.raises(Refused, match="there is no recovery point latest") as refused:
        place.drill()
    assert refused.value.then == "inv backup takes one"


def test_a_database_that_is_no_service_of_the_app_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(tmp_path, backed_up.COMPOSE.replace("PGHOST: postgres", "PGHOST: db.example.org"))
    monkeypatch.setattr(drill, "repository_of", lambda _: place.repository)
    with pytest.raises(Refused, match=r"db\.example\.org"):
        place.drill()
    assert not any(" up " in command for command in place.host.executed)
