"""Rollbacks on a fake host: what they wait for, what they refuse, what can be gone back to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.model import Schema
from deploy.hosts.local import LocalHost
from deploy.rollout import commands
from tests.support.place import Place, whole

pytestmark = pytest.mark.usefixtures("no_waiting")
FAULTS: dict[str, Callable[[], BaseException | None]] = {
    "refused": lambda: CommandFailed("docker x", 1, "it did not work", "here"),
    "unforeseen": lambda: ValueError("surprise"),
}


def test_rollback_goes_to_the_release_before_and_does_not_migrate(place: Place) -> None:
    place.host.executed.clear()
    outcome = commands.rollback(place.at)
    assert (outcome.release, place.serving(), place.running()) == ("r1", "r1", whole("r1"))
    assert not [command for command in place.host.executed if "alembic" in command]
    assert place.state.ledger()[-1].command == "rollback"


def asked_for_tasks(place: Place) -> int:
    return len([command for command in place.host.executed if command.endswith("tasks pending")])


def test_a_rollback_waits_for_tasks_that_the_old_release_does_not_know(place: Place) -> None:
    place.host.tasks = [["new", "newer"], ["new"], []]
    place.host.executed.clear()
    commands.rollback(place.at)
    assert asked_for_tasks(place) == 3
    last = place.host.executed.index(
        next(command for command in reversed(place.host.executed) if command.endswith("tasks pending"))
    )
    started = next(at for at, command in enumerate(place.host.executed) if " up " in command and "worker" in command)
    assert last < started, "the old workers start once the new tasks are done"


@pytest.mark.parametrize("trouble", ["never done", "cannot be asked"])
def test_a_rollback_is_not_undone_for_tasks(place: Place, trouble: str, capsys: pytest.CaptureFixture[str]) -> None:
    if trouble == "never done":
        place.host.tasks = [["new"]] * 10**6
    else:
        place.host.fail_at(place.steps("r1", "rollback").index("AwaitTasks"), FAULTS["refused"])
    assert commands.rollback(place.at).release == place.serving() == "r1"
    assert (
        "tasks are left that r1 does not know: new" if trouble == "never done" else "it is not known"
    ) in capsys.readouterr().err


def test_a_rollback_that_failed_can_be_tried_again(place: Place) -> None:
    place.host.fail_at(2, lambda: None)
    with pytest.raises(OpsError):
        commands.rollback(place.at, to="r1")
    assert commands.rollback(place.at, to="r1").release == place.serving() == "r1"


@pytest.mark.parametrize(
    ("schema", "words"),
    [(Schema(revision="r9", serves=("r9",), release="r2"), "r9"), (None, "not known")],
    ids=["contracted since", "unknown schema"],
)
def test_rollback_refuses_when_the_schema_would_not_fit(place: Place, schema: Schema | None, words: str) -> None:
    (place.state.folder / "schema.json").unlink()
    if schema:
        place.state.keep_schema(schema)
    before = place.running(), len(place.journal())
    with pytest.raises(Refused, match=words) as raised:
        commands.rollback(place.at)
    assert (raised.value.code, "r2" in raised.value.serves) == (2, True)
    assert (place.running(), len(place.journal())) == before


def test_rollback_refuses_a_release_of_unknown_schema(place: Place) -> None:
    text = "\n".join(
        entry.model_copy(update={"schema_revision": None}).model_dump_json() for entry in place.state.ledger()
    )
    LocalHost().write(place.state.folder / "ledger.jsonl", text + "\n")
    with pytest.raises(Refused, match="not known"):
        commands.rollback(place.at)


def test_rollback_needs_an_earlier_release(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.deploy("r1")
    with pytest.raises(Refused, match="no earlier release"):
        commands.rollback(place.at)
    with pytest.raises(Refused, match="no release r7"):
        commands.rollback(place.at, to="r7")


def test_what_may_be_gone_back_to_is_never_forgotten(place: Place) -> None:
    for name in ("r3", "r4", "r5"):
        place.deploy(name)
        kept = [release for release in place.state.served() if release in place.state.kept()]
        assert kept == place.state.served()[: place.settings.rollout.keep_releases + 1], name
