"""State of another toolkit: one format ahead or behind, each command works or refuses in one sentence.

Nothing is lost.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.config.settings import ROOT
from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.core.model import VERSION, block_of, written_block
from deploy.edge.folder import EdgeFolder
from deploy.images import inventory
from deploy.images.archive import Archived
from deploy.insight import history, status
from deploy.rollout import commands as rollout
from deploy.rollout import handlers, preflight, scale
from deploy.site import interrupted
from deploy.site.facts import observe
from deploy.state import kept
from tests.flow.test_days_work import Printed
from tests.flow.test_records import COMMANDS, SERVES, refused, site
from tests.support.place import STEPS, Killed, Place, whole

__all__ = ["site"]  # a fixture
AHEAD = {"version": VERSION + 1, "needs": VERSION, "later": {"by": "a newer toolkit"}}
ROUTE = "edge/proven/route.json"
TOO_NEW = {"version": VERSION + 8, "needs": VERSION + 8, "later": "what this toolkit cannot know"}
BEHIND = (
    Path(__file__).parent / "kept" / "version_0"
)  # as the toolkit wrote it before files had a version: r3 was killed at its watch


def files(place: Place) -> list[Path]:
    """Every kept document that is one file."""
    folder = place.state.folder
    return [
        folder / "schema.json",
        folder / "scale.json",
        *folder.glob("releases/*/release.json"),
        *folder.glob("images/*.json"),
    ]


def change(path: Path, act: Callable[[dict[str, Any]], object]) -> None:
    """Change one kept document."""
    document = json.loads(path.read_text())
    act(document)
    path.write_text(json.dumps(document))


def change_line(path: Path, keys: dict[str, Any], number: int = -1) -> None:
    """Add keys to one line of a file of lines."""
    lines = path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | keys)
    path.write_text("".join(f"{line}\n" for line in lines))


def add_keys(place: Place) -> None:
    """Leave the state of a toolkit one format ahead: with further keys everywhere, none of which a reader must know."""
    place.state.keep_scale({"worker": 1})
    image = {"digest": "sha256:a", "config": "sha256:b"}
    place.host.write(
        inventory.record_file(place.state.folder, "r2"), json.dumps({"version": VERSION, "images": {"web": image}})
    )
    for path in files(place):
        change(path, lambda document: document.update(AHEAD))
    for path in place.state.folder.glob("releases/*/release.json"):
        change(
            path,
            lambda document: [
                service.update(later=1) or service["deploy"].update(later=2) for service in document["services"]
            ],
        )
    change(inventory.record_file(place.state.folder, "r2"), lambda document: document["images"]["web"].update(later=3))
    change_line(place.state.folder / "ledger.jsonl", AHEAD)
    for number in (-1, -2):
        change_line(place.state.folder / "journal.jsonl", AHEAD, number)
    for name, container in place.host.engine.observed.items():
        if container.deploy:
            block = json.loads(container.deploy.model_dump_json()) | {"later": 4}
            place.host.engine.observed[name] = replace(container, deploy=block_of(json.dumps(block)))


def later(place: Place) -> dict[str, int]:
    """Count the keys of a newer toolkit in each file that is there."""
    paths = [*files(place), place.state.folder / "ledger.jsonl", place.state.folder / "journal.jsonl"]
    return {str(path.relative_to(place.state.folder)): path.read_text().count('"later"') for path in paths}


def require_nothing_lost(place: Place, before: dict[str, int]) -> None:
    """Fail where a file that is still there has lost keys."""
    after = later(place)
    assert {name: after[name] for name in before if name in after} == {
        name: before[name] for name in before if name in after
    }
    assert {"ledger.jsonl", "journal.jsonl", "schema.json", "scale.json"} <= after.keys()


MORE: dict[str, Callable[[Place], Any]] = {"scale": lambda place: scale.scale(place.at, "worker=2"), **COMMANDS}


@pytest.mark.parametrize("command", MORE)
def test_with_state_of_one_format_ahead_each_command_works_and_keeps_its_keys(
    site: Place, command: str, capsys: Printed
) -> None:
    add_keys(site)
    before = later(site)
    assert all(before.values())
    MORE[command](site)
    assert "newer toolkit" not in capsys.readouterr().err, "none of it is passed over"
    wanted = SERVES.get(command, "r2")
    assert (site.serving(), site.running()) == (wanted, whole(wanted))
    require_nothing_lost(site, before)


@pytest.mark.parametrize("step", ["StartColour", "Watch"])
@pytest.mark.parametrize("then", ["resume", "abort", "rollback --to"])
def test_what_was_interrupted_one_format_ahead_goes_on_and_goes_back(site: Place, step: str, then: str) -> None:
    site.host.kill_at(STEPS.index(step), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    add_keys(site)
    before = later(site)
    COMMANDS[then](site)
    wanted = {"resume": "r3", "abort": "r2", "rollback --to": "r1"}[then]
    assert (site.serving(), site.running()) == (wanted, whole(wanted))
    require_nothing_lost(site, before)


def test_a_release_is_put_together_from_labels_of_one_format_ahead(site: Place) -> None:
    add_keys(site)
    (site.state.bundle_folder("r1") / "release.json").unlink()
    assert rollout.rollback(site.at).release == site.serving() == "r1"


def test_what_people_write_has_no_unknown_key() -> None:
    assert block_of('{"role": "web", "later": 1}')
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        written_block({"role": "web", "later": 1})


def test_the_history_has_the_keys_that_are_documented(site: Place, capsys: Printed) -> None:
    add_keys(site)
    history.show(site.at, limit=9, json=True)
    assert all(entry.keys() == {*history.FIELDS, "hosts"} for entry in json.loads(capsys.readouterr().out))


def test_images_that_are_brought_again_keep_what_is_recorded_of_the_same_ones(site: Place) -> None:
    path = inventory.record_file(site.state.folder, "r1")
    old = {"digest": "sha256:m", "config": "sha256:c", "later": 3}
    site.host.write(path, json.dumps({**AHEAD, "images": {"same": old, "rebuilt": {**old, "digest": "sha256:before"}}}))
    image = Archived(digest="sha256:m", config="sha256:c", layers=())
    arrived = [inventory.ImageTransfer(name, f"{name}:r1", image) for name in ("same", "rebuilt")]
    inventory.record(site.host, site.state.folder, "r1", arrived, inventory.Inventory(False, frozenset()))
    new = {"digest": "sha256:m", "config": "sha256:c"}
    assert json.loads(path.read_text()) == {**AHEAD, "images": {"same": old, "rebuilt": new}}


# what is too new to be understood


def too_new(site: Place, name: str) -> Path:
    path = site.state.folder / name
    site.state.keep_scale({"worker": 1})
    change(path, lambda document: document.update(TOO_NEW))
    return path


@pytest.mark.parametrize("number", [0, -1], ids=["first", "last"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_of_the_ledger_that_is_too_new_stops_no_command(
    site: Place, number: int, command: str, capsys: Printed
) -> None:
    path = site.state.folder / "ledger.jsonl"
    change_line(path, TOO_NEW, number)
    line = path.read_text().splitlines()[number]
    with (
        pytest.raises(OpsError, match="whose ledger has no entry for it")
        if (command, number) == ("abort", -1)
        else nullcontext()
    ):
        COMMANDS[command](site)
    assert line in path.read_text().splitlines()
    assert not path.with_suffix(".jsonl.damaged").exists(), "it is not damaged"
    output = capsys.readouterr().err
    assert output.count("of a newer toolkit, and passed over; use a newer checkout of the toolkit: git pull") == 1
    assert "cannot be read" not in output


def test_a_last_line_that_is_too_new_and_lost_its_end_is_kept(site: Place) -> None:
    path = site.state.folder / "ledger.jsonl"
    change_line(path, TOO_NEW)
    text = path.read_text()
    path.write_text(text[:-1])
    site.deploy("r3")
    assert path.read_text().startswith(text)


def require_newer(error: OpsError) -> None:
    assert "by a newer toolkit" in refused(error)
    assert "use a newer checkout of the toolkit: git pull" in error.then
    assert "remove" not in str(error)
    assert error.slug == ("command-unknown" if isinstance(error, Interrupted) else kept.TOO_NEW)


@pytest.mark.parametrize("name", ["scale.json", "schema.json"])
def test_a_value_that_is_too_new_refuses_a_deploy_before_anything_changes(site: Place, name: str) -> None:
    path = too_new(site, name)
    before = path.read_bytes()
    with pytest.raises(Refused) as raised:
        preflight.require_host_ready(site.settings, site.host, observe(site.settings, site.host))
    require_newer(raised.value)
    for command in ("status", "logs", "history", "exec", "maintenance"):
        COMMANDS[command](site)
    with nullcontext() if name == "scale.json" else pytest.raises(Refused, match="not known whether release r1 fits"):
        COMMANDS["rollback"](site)
    assert path.read_bytes() == before


def test_what_the_edge_serves_has_a_version_and_further_keys_are_passed_over(site: Place) -> None:
    path = site.state.folder / ROUTE
    assert json.loads(path.read_text())["version"] == VERSION
    before = observe(site.settings, site.host)
    change(path, lambda document: document.update(AHEAD))
    EdgeFolder(site.settings, site.host).require_readable()
    assert observe(site.settings, site.host) == before


def test_what_an_edge_serves_that_is_too_new_refuses_a_deploy_and_stops_nothing_that_helps(
    site: Place, capsys: Printed
) -> None:
    """What nginx itself reads stands in for it."""
    path = site.state.folder / ROUTE
    change(path, lambda document: document.update(TOO_NEW, members="elsewhere"))
    before = path.read_bytes()
    with pytest.raises(Refused) as raised:
        preflight.require_host_ready(site.settings, site.host, observe(site.settings, site.host))
    require_newer(raised.value)
    assert capsys.readouterr().err.count("route.json was written by a newer toolkit") == 1
    for command in ("status", "logs", "history", "exec"):
        COMMANDS[command](site)
    assert path.read_bytes() == before
    COMMANDS["maintenance"](site)
    COMMANDS["rollback"](site)
    assert site.serving() == "r1"


def test_a_route_of_another_shape_by_a_newer_toolkit_is_named_as_that(site: Place) -> None:
    change(site.state.folder / ROUTE, lambda document: document.update(version=VERSION + 1, members=None))
    with pytest.raises(Refused) as raised:
        EdgeFolder(site.settings, site.host).require_readable()
    require_newer(raised.value)


@pytest.mark.parametrize(
    "write", [lambda place: place.state.keep_scale({}), lambda place: scale.scale(place.at, "worker=2")]
)
def test_a_scale_that_is_too_new_is_not_written_over(site: Place, write: Callable[[Place], object]) -> None:
    path = too_new(site, "scale.json")
    before = path.read_bytes()
    with pytest.raises(Refused) as raised:
        write(site)
    require_newer(raised.value)
    assert path.read_bytes() == before
    assert site.running() == whole("r2")


def test_a_release_that_is_too_new_is_started_as_it_is_and_never_written_over(site: Place) -> None:
    paths = [too_new(site, f"releases/{name}/release.json") for name in ("r1", "r2")]
    before = [path.read_bytes() for path in paths]
    for command in ("rollback --to", "deploy of what serves"):
        with pytest.raises(Refused) as raised:
            COMMANDS[command](site)
        require_newer(raised.value)
    for command in ("status", "logs", "history", "exec", "maintenance", "resume", "abort", "rollback"):
        COMMANDS[command](site)
    assert (site.serving(), [path.read_bytes() for path in paths]) == ("r1", before)


def test_a_release_of_another_shape_by_a_newer_toolkit_is_named_as_that(site: Place) -> None:
    """Even where it did not say which reader it needs."""
    change(
        site.state.bundle_folder("r1") / "release.json",
        lambda document: document.update(version=VERSION + 1, services="elsewhere"),
    )
    with pytest.raises(Refused) as raised:
        site.state.release("r1")
    require_newer(raised.value)


def test_images_that_are_too_new_are_named(site: Place) -> None:
    add_keys(site)
    change(inventory.record_file(site.state.folder, "r2"), lambda document: document.update(TOO_NEW))
    with pytest.raises(Refused) as raised:
        inventory.read_record(site.host, site.state.folder, "r2")
    require_newer(raised.value)


@pytest.mark.parametrize("verb", ["resume", "abort"])
def test_a_deploy_of_a_newer_toolkit_that_was_interrupted_is_left_to_it(
    site: Place, verb: str, capsys: Printed
) -> None:
    site.host.kill_at(STEPS.index("Watch"), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    path = site.state.folder / "journal.jsonl"
    number = next(
        n for n, line in reversed([*enumerate(path.read_text().splitlines())]) if '"command": "deploy"' in line
    )
    change_line(path, TOO_NEW, number)
    with pytest.raises(Interrupted) as raised:
        getattr(interrupted, verb)(site.at, handlers.HANDLERS, json=False)
    require_newer(raised.value)
    status.show(site.at, json=False)
    assert "deploy of r3 was interrupted on localhost" in capsys.readouterr().err
    assert '"later"' in path.read_text()
    site.deploy("r3")
    assert site.serving() == "r3", "a deploy starts from what is there"


# one format behind


@pytest.fixture
def behind(tmp_path: Path, no_waiting: None) -> Place:
    """A place whose r3 was killed at its watch, with the records that the toolkit of format 0 wrote of just that."""
    place = Place(tmp_path)
    for name in ("r1", "r2"):
        place.deploy(name)
    place.host.kill_at(place.steps("r3").index("Watch"), "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    for path in BEHIND.rglob("*.json*"):
        target = tmp_path / path.relative_to(BEHIND)
        target.parent.mkdir(exist_ok=True)
        shutil.copy(path, target)
    return place


@pytest.mark.parametrize("then", ["resume", "abort", "deploy", "rollback --to", "deploy of what serves"])
def test_an_interrupted_run_of_one_format_behind_ends_as_ours(behind: Place, then: str) -> None:
    lines = {name: (BEHIND / name).read_text() for name in ("ledger.jsonl", "journal.jsonl")}
    if then == "deploy":
        behind.deploy("r4")
    else:
        COMMANDS[then](behind)
    wanted = {"resume": "r3", "abort": "r2", "deploy": "r4", "rollback --to": "r1", "deploy of what serves": "r2"}[then]
    assert (behind.serving(), behind.running()) == (wanted, whole(wanted))
    for name, text in lines.items():
        assert (behind.state.folder / name).read_text().startswith(text)
    assert behind.state.scale() == {"worker": 1}


def test_state_of_one_format_behind_is_shown(behind: Place, capsys: Printed) -> None:
    status.show(behind.at, json=True)
    shown = json.loads(capsys.readouterr().out)["interrupted"]
    assert (shown["command"], shown["release"]) == ("deploy", "r3")
    history.show(behind.at, limit=9, json=True)
    assert [entry["release"] for entry in json.loads(capsys.readouterr().out)] == ["r2", "r1"]
    assert inventory.read_record(behind.host, behind.state.folder, "r2")["app/backend"].digest == "sha256:aa"
    assert (behind.state.release("r2").version, behind.state.ledger()[0].version) == (0, 0)


def test_what_an_edge_of_one_format_behind_serves_is_read_and_is_of_ours_once_it_is_written(behind: Place) -> None:
    path = behind.state.folder / ROUTE
    before = observe(behind.settings, behind.host)
    change(path, lambda document: document.pop("version"))
    assert observe(behind.settings, behind.host) == before
    COMMANDS["maintenance"](behind)
    assert json.loads(path.read_text())["version"] == VERSION


def test_values_of_one_format_behind_are_of_ours_once_they_are_written(behind: Place) -> None:
    behind.state.keep_scale({"worker": 2})
    document = json.loads((behind.state.folder / "scale.json").read_text())
    assert document == {"version": VERSION, "replicas": {"worker": 2}}


def test_an_interrupted_run_of_one_format_behind_that_cannot_go_on_is_named_with_a_deploy(behind: Place) -> None:
    shutil.rmtree(behind.state.bundle_folder("r3"))
    with pytest.raises(Refused, match="there is no release r3 here") as raised:
        interrupted.resume(behind.at, handlers.HANDLERS, json=False)
    assert "inv deploy: an older toolkit began" in raised.value.then


def test_the_fixture_of_format_0_has_no_version() -> None:
    assert ROOT in BEHIND.parents
    assert not [path for path in BEHIND.rglob("*.json*") if '"version": ' + str(VERSION) in path.read_text()]
