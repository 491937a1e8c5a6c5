"""`inv incident.triage` on fake hosts: parts that hang, secrets in logs, what people read."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from deploy.config import secrets
from deploy.core.errors import Refused
from deploy.core.shell import Command, Result
from deploy.incidents import sight, triage
from deploy.rollout import takedown
from tests.support.place import Place

Printed = pytest.CaptureFixture[str]
SECRET = "hunter2-the-password"
LOG = (
    f"ERROR cannot connect to postgres://app:{SECRET}@db/app\nERROR cannot connect to postgres://app:{SECRET}@db/app\n"
)


@pytest.fixture
def hung() -> Iterator[Event]:
    """What hangs until the test is over."""
    over = Event()
    yield over
    over.set()


def printing(place: Place, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Have the backend print something."""
    try_run = place.host.try_run

    def run(command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[:2] == ("docker", "logs") and "backend" in command.argv[-1]:
            return Result(0, text, "")
        if command.argv[:2] == ("docker", "stats"):
            return Result(0, "", "")
        return try_run(command, timeout=timeout)

    monkeypatch.setattr(place.host, "try_run", run)


def test_one_screen_ends_with_the_likeliest_cause_and_the_next_command(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis has stopped in this place."""
    printing(place, monkeypatch, "")
    triage.show(place.at, json=False)
    output = capsys.readouterr()
    assert len(output.out.splitlines()) < 40
    assert output.err.splitlines()[-1] == "next: inv deploy --to=r2"
    assert "likeliest: localhost: redis has stopped" in output.err
    triage.show(place.at, json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["next"], document["visitors"]) == ("inv deploy --to=r2", "served")


def test_no_secret_of_a_release_is_in_what_is_shown(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is cut, grouped, or a container's last word; without the secrets nothing of a log is shown."""
    env = place.state.bundle_folder("r2") / "env"
    env.write_text(secrets.render({"DATABASE_PASSWORD": SECRET}))
    printing(place, monkeypatch, LOG)
    name = next(c.name for c in place.host.engine.observed.values() if c.service == "backend" and c.release == "r2")
    for state in ("running", "exited"):
        place.host.engine.change(name, state=state)
        for json_too in (False, True):
            triage.show(place.at, json=json_too)
            output = capsys.readouterr()
            assert "cannot connect to postgres://app:***@db/app" in output.out + output.err
            assert SECRET not in output.out + output.err
    env.unlink()
    triage.show(place.at, json=False)
    output = capsys.readouterr()
    assert "cannot connect" not in output.out + output.err


@pytest.mark.parametrize("part", ["logs", "stats"])
def test_a_part_that_hangs_is_unknown_and_stops_no_other(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch, hung: Event, part: str
) -> None:
    monkeypatch.setattr(sight, "SECOND", 0.3)
    try_run = place.host.try_run

    def hangs(command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[:2] == ("docker", part):
            hung.wait()
        return try_run(command, timeout=timeout) if command.argv[1] != "stats" else Result(0, "", "")

    monkeypatch.setattr(place.host, "try_run", hangs)
    triage.show(place.at, json=True)
    document = json.loads(capsys.readouterr().out)
    parts = {one["part"]: one for one in document["hosts"][0]["parts"]}
    name = {"logs": "errors, 15 min", "stats": "usage"}[part]
    assert parts[name]["unknown"].startswith("no answer within")
    assert parts["services"]["lines"]
    assert parts["deploys"]["unknown"] is None
    assert document["next"] == "inv deploy --to=r2"


def test_an_engine_that_hangs_is_reported_with_what_the_edge_answers(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch, hung: Event
) -> None:
    monkeypatch.setattr(sight, "FIRST", 0.5)
    monkeypatch.setattr(place.host.engine, "containers", lambda _: hung.wait())
    began = time.monotonic()
    triage.show(place.at, json=False)
    assert time.monotonic() - began < 10
    output = capsys.readouterr()
    assert "UNKNOWN: no answer within" in output.out
    assert "deploy of r2: in service" in output.out
    assert "the containers of localhost cannot be seen: no answer within" in output.err
    assert "its edge answers for release r2" in output.err
    assert output.err.splitlines()[-1] == "next: inv doctor"


def test_where_nothing_is_wrong_it_says_so_and_what_it_could_not_see(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    printing(place, monkeypatch, "")
    place.host.engine.change("shop-local-redis-1", state="running", health="healthy")

    def broken() -> int:
        raise Refused("/proc/meminfo cannot be read")

    monkeypatch.setattr(place.host, "free_memory", broken)
    triage.show(place.at, json=False)
    output = capsys.readouterr().err
    assert "not seen: memory of localhost" in output
    assert output.endswith("nothing is wrong, as far as this can see\n")


def test_what_was_stopped_on_purpose_is_not_called_well(place: Place, capsys: Printed) -> None:
    takedown.down(place.at, volumes=False)
    place.host.engine.observed.clear()
    triage.show(place.at, json=False)
    assert capsys.readouterr().err.endswith("inv down has stopped it; visitors get nothing\nnext: inv deploy\n")


def test_a_bundle_has_the_logs_without_secrets_and_no_folder_is_written_into_twice(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (place.state.bundle_folder("r2") / "env").write_text(secrets.render({"DATABASE_PASSWORD": SECRET}))
    printing(place, monkeypatch, LOG)
    folder = tmp_path / "kept" / "tonight"
    triage.show(place.at, folder=str(folder), json=False)
    files = {file.name: file.read_text() for file in folder.iterdir()}
    assert "cannot connect to postgres://app:***@db/app" in files["localhost-shop-local-blue-backend-blue-1.log"]
    assert SECRET not in "".join(files.values())
    assert json.loads(files["triage.json"])["next"] == "inv deploy --to=r2"
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    with pytest.raises(Refused, match="exists, and is not an empty folder"):
        triage.show(place.at, folder=str(folder), json=False)
