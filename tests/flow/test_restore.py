"""A restore on a host whose engine is a script: the app is asked before the swap, a part leaves what is live alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.backups import tables
from deploy.backups.restore import apply
from deploy.backups.steps import Names, RestoreRun
from deploy.core.errors import GateClosed, Interrupted, OpsError
from deploy.core.shell import Command, Result
from tests.flow import test_drill
from tests.flow.test_drill import Place
from tests.support import backed_up

NAMED = backed_up.COMPOSE.replace(
    'environment: {REDIS_URL: "redis://redis:6379"}', 'environment: {DATABASE_URL: "postgresql://app@postgres/books"}'
)
NAMES = Names("books", "books_before_1", "books_restored_point1")


class Host(test_drill.Host):
    """A host that swaps, and keeps what was written into the project of the check."""

    written = ""
    dies = False  # the database does, while a point is restored

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if self.dies and "restore" in command.argv:
            self.fails = ("run",)
        return super().try_run(command, stdin=stdin, timeout=timeout)

    def answer(self, argv: tuple[str, ...]) -> str:
        if "swap" in argv:
            return "nobody could write for 5"
        if "up" in argv:
            self.written = Path(argv[argv.index("--file") + 1]).read_text()
        return super().answer(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None) -> Place:
    monkeypatch.setattr(test_drill, "Host", Host)
    return Place(tmp_path, NAMED)


def restore(place: Place, *, ask: bool = True) -> None:
    """Restore point1."""
    point = place.repository.point("point1")
    apply(RestoreRun(place.repository, point.id, NAMES, "", point.snapshot, ask), point)


def asked(place: Place, *words: str) -> list[str]:
    """What was asked for with one of these words, by that word."""
    return [word for line in place.host.executed for word in words if f" {word} " in f"{line} "]


def test_the_app_reads_what_was_restored_before_it_is_swapped(place: Place) -> None:
    restore(place)
    assert asked(place, "restore", "amcheck", "up", "smoke", "swap") == ["restore", "amcheck", "up", "smoke", "swap"]
    assert isinstance(place.host, Host)
    assert "postgresql://app@postgres/books_restored_point1" in place.host.written
    assert not (place.state.folder / "restore-check").exists(), "it has a password in it"


@pytest.mark.parametrize("fails", ["up", "smoke"])
def test_an_app_that_does_not_work_on_it_keeps_the_live_database_in_service(place: Place, fails: str) -> None:
    place.host.fails = (fails,)
    with pytest.raises(GateClosed) as closed:
        restore(place)
    assert (closed.value.slug, "--without-health" in closed.value.then) == ("restored-app-unhealthy", True)
    assert "hunter2hunter2" not in closed.value.what
    assert asked(place, "swap") == []
    assert asked(place, "drop") == ["drop"], "nothing is left beside"
    assert not (place.state.folder / "restore-check").exists()
    place.host.fails = ("nothing",)
    restore(place, ask=False)
    assert asked(place, "swap") == ["swap"]


def test_a_restore_whose_database_dies_is_interrupted_and_both_ways_lead_on(place: Place) -> None:
    assert isinstance(place.host, Host)
    place.host.dies = True
    with pytest.raises(Interrupted) as cut:
        restore(place)
    assert "restore failed" in cut.value.what
    assert ("inv resume" in cut.value.then, "inv abort" in cut.value.then) == (True, True)
    (left,) = place.state.interruptions()
    assert (left.command, left.target) == ("restore", "point1")
    place.host.dies, place.host.fails = False, ("nothing",)
    restore(place)
    assert asked(place, "swap") == ["swap"]


def test_an_app_that_names_no_database_is_not_asked_and_that_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(test_drill, "Host", Host)
    place = Place(tmp_path)
    restore(place)
    assert asked(place, "up", "swap") == ["swap"]
    assert "no variable of backend names books" in " ".join(capsys.readouterr().err.split())


def test_a_table_goes_into_a_schema_of_its_own_and_nothing_is_swapped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "repository_of", lambda _: place.repository)
    result = tables.restore_table(place.at, "point1", "books")
    (line,) = [line for line in place.host.executed if " table " in line]
    assert line.endswith(f" table point1 public books 3 books_table_point1 {result.schema}")
    assert (result.table, result.rows, result.schema[:9]) == ("public.books", 3, "restored_")
    assert asked(place, "swap", "drop") == []
    with pytest.raises(OpsError, match="holds no table cats"):
        tables.restore_table(place.at, "point1", "cats")
