"""Ledger, journal and release.json are auxiliary.

Whatever becomes of them, what serves goes on, and commands work from what runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import OpsError, Refused
from deploy.core.model import Record
from deploy.insight import history, logs, prune, services, status
from deploy.rollout import commands, maintenance, preflight
from deploy.rollout.interrupted_releases import interruption
from deploy.site.facts import observe
from deploy.state import folder as records
from deploy.state.journal import begin_run
from deploy.state.store import State
from tests.flow.test_days_work import AT, Printed, say
from tests.flow.test_disk_and_prune import USED
from tests.support.apart import FOLDER, Site
from tests.support.fake import DONE
from tests.support.faults import fail_at, when
from tests.support.place import STEPS, Killed, Place, whole

GOOD = Record(
    release="r9", revision="r9", command="deploy", outcome="in service", colour="blue", generation=9,
    schema_revision=None, who="me", started="2026-01-01T00:00:00Z", seconds=1, commit_time="2026-01-01T00:00:00Z",
).model_dump_json()  # fmt: skip
LINES = {
    "half a line": GOOD[:50].encode(),
    "NULs": b"\0" * 300,
    "bad UTF-8": b'{"release": "\xff\xfe\x80"}',
    "another shape": b'["r9"]',
    "a newer toolkit's": GOOD.replace('"version":1,"needs":0', '"version":9,"needs":9').encode(),
    "no time": GOOD.replace("2026-01-01T00:00:00Z", "yesterday").encode(),
}


def test_a_last_line_that_lost_its_end_is_a_line(site: Place) -> None:
    """An editor, or a copy through a shell, takes the last line's end: what it says was relied on."""
    path = ledger(site)
    path.write_bytes(path.read_bytes()[:-1])
    assert observe(site.settings, site.host).accepted == "r2"
    commands.abort(site.at)
    assert site.serving() == "r2"
    site.deploy("r3")
    assert [entry.release for entry in site.state.ledger()] == ["r0", "r1", "r2", "r3"], (
        "the next line takes nothing away"
    )
    assert commands.rollback(site.at).release == "r2"


@pytest.mark.parametrize("cut", [30, 150])
def test_a_last_line_that_was_cut_after_all_was_well_is_missed(site: Place, cut: int) -> None:
    """Only where the journal says that its command did not end was nothing relied on."""
    path = ledger(site)
    path.write_bytes(path.read_bytes()[:-cut])
    assert observe(site.settings, site.host).accepted is None, "not r1, which nobody wants back"
    with pytest.raises(OpsError, match="whose ledger has no entry for it"):
        commands.abort(site.at)
    assert site.serving() == "r2"


def test_what_a_newer_version_has_added_is_passed_over(site: Place) -> None:
    names = [
        site.state.folder / "ledger.jsonl",
        site.state.folder / "schema.json",
        site.state.bundle_folder("r1") / "release.json",
    ]
    for path in names:
        path.write_text(path.read_text().replace("{", '{"later": 1, ', 1))
    assert commands.rollback(site.at, to="r1").release == "r1"


@pytest.mark.parametrize("name", ["journal.jsonl", "scale.json"])
def test_a_rollback_needs_neither_journal_nor_scale(site: Place, name: str) -> None:
    path = site.state.folder / name
    path.unlink(missing_ok=True)
    if name == "scale.json":
        path.write_text("{")
    else:
        path.mkdir()
    assert commands.rollback(site.at, to="r1").release == site.serving() == "r1"


def test_a_damaged_scale_is_no_reason_to_stay_with_a_bad_release(site: Place) -> None:
    """It is damaged while a deploy runs: going back keeps the replicas that are there."""
    site.state.keep_scale({"worker": 1})
    when(site.host, "Drain", "begin", lambda: (site.state.folder / "scale.json").write_text("{"))
    fail_at(site.host, "Drain")
    with pytest.raises(OpsError, match="Drain failed") as raised:
        site.deploy("r3")
    assert (raised.value.code, site.serving()) == (1, "r2")


def in_the_middle(path: Path, line: bytes) -> None:
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(b"\n".join([first, line, rest]))


def at_the_end(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line + b"\n")


def without_end(path: Path, line: bytes) -> None:
    path.write_bytes(path.read_bytes() + line)


def folder(path: Path, _: bytes) -> None:
    path.unlink()
    path.mkdir()


def gone(path: Path, _: bytes) -> None:
    path.unlink()


def emptied(path: Path, _: bytes) -> None:
    path.write_bytes(b"")


def all_zeros(path: Path, _: bytes) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


WAYS: dict[str, tuple[Callable[[Path, bytes], None], bytes]] = {
    **{f"{name}, in the middle": (in_the_middle, LINES[name]) for name in ("half a line", "NULs", "bad UTF-8",
        "a newer toolkit's")},
    **{f"{name}, last": (at_the_end, line) for name, line in LINES.items()},
    "NULs without an end": (without_end, LINES["NULs"]),
    "gone": (gone, b""), "a folder": (folder, b""), "emptied": (emptied, b""), "zeros alone": (all_zeros, b""),
}  # fmt: skip
EVERY_DAMAGE = pytest.mark.parametrize("damage", WAYS)
NEWEST = [name for name in WAYS if "middle" not in name]  # what was accepted last is not known
LOST = ("gone", "a folder", "emptied", "zeros alone")  # nor of which schema a release is


def ledger(place: Place) -> Path:
    return place.state.folder / "ledger.jsonl"


def hurt(place: Place, damage: str) -> None:
    """Damage the ledger."""
    act, line = WAYS[damage]
    act(ledger(place), line)


COMMANDS: dict[str, Callable[[Place], Any]] = {
    "status": lambda place: status.show(place.at, json=False),
    "status --json": lambda place: status.show(place.at, json=True),
    "history": lambda place: history.show(place.at, limit=9, json=True),
    "logs": lambda place: logs.show(place.at, ["backend"], logs.query("", ""), follow=False),
    "exec": lambda place: services.find(place.at, ["backend"]),
    "plan": lambda place: place.steps("r3"),
    "preflight": lambda place: preflight.warn_of_clock(place.host, place.state.ledger()),
    "deploy": lambda place: place.deploy("r3"),
    "deploy of what serves": lambda place: place.deploy("r2"),
    "rollback": lambda place: commands.rollback(place.at),
    "rollback --to": lambda place: commands.rollback(place.at, to="r1"),
    "resume": lambda place: commands.resume(place.at),
    "abort": lambda place: commands.abort(place.at),
    "prune": lambda place: prune.prune(place.at, yes=True, json=False),
    "maintenance": lambda place: [maintenance.turn(place.at, on=on, off=not on) for on in (True, False)],
}
SERVES = {"deploy": "r3", "rollback": "r1", "rollback --to": "r1"}


@pytest.fixture
def site(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose containers say something, and whose space is known."""
    opened = place.host.open
    say(place.host, monkeypatch, {c.name: [AT.format(1, "said")] for c in place.host.engine.observed.values()})
    message = place.host.open
    monkeypatch.setattr(
        place.host, "open", lambda command, **more: opened(command, **more) if more else message(command)
    )
    for name, value in {"usage": USED, "folder": place.state.folder}.items():
        monkeypatch.setattr(place.host.engine, name, lambda value=value: value, raising=False)
    monkeypatch.setattr(place.host, "free_bytes", lambda _: 10**12)
    monkeypatch.setattr(records, "WARNED", set())
    usual = place.host.try_run
    monkeypatch.setattr(
        place.host, "try_run", lambda command, **more: DONE if command.argv[1] == "builder" else usual(command, **more)
    )
    return place


def refused(error: OpsError) -> str:
    """Say what a command refused with: a sentence, a place and a next command, of no fault of the toolkit."""
    assert isinstance(error, OpsError)
    assert "fault of the toolkit" not in str(error)
    assert all(error.document.values())
    return f"{error.what} | {error.then}"


@EVERY_DAMAGE
@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_ledger_stops_no_command(site: Place, damage: str, command: str, capsys: Printed) -> None:
    """What cannot be told without it is refused with the way out, and no line of it is lost."""
    hurt(site, damage)
    before = ledger(site).read_bytes() if ledger(site).is_file() else b""
    output = ""
    try:
        COMMANDS[command](site)
    except OpsError as error:
        output = refused(error)
    if command == "abort" and damage in NEWEST:
        assert "r2 serves on localhost, whose ledger has no entry for it | inv resume" in output
    elif "rollback" in command and damage in LOST:
        assert "not known whether release r1 fits the database's schema | go forward with inv deploy" in output
    elif command == "history" and damage == "a folder":
        assert "Is a directory" in output
    else:
        assert not output
    wanted = "r2" if output else SERVES.get(command, "r2")
    assert (site.serving(), site.running()) == (wanted, whole(wanted))
    assert not observe(site.settings, site.host).edge.maintenance
    kept = [path.read_bytes() for path in (ledger(site), ledger(site).with_suffix(".jsonl.damaged")) if path.is_file()]
    lost = [line for line in before.split(b"\n") if line.strip() and not any(line in text for text in kept)]
    assert not lost
    printed = capsys.readouterr().err
    assert printed.count("cannot be read, and passed over") <= 1
    assert damage in ("gone", "emptied") or "ledger.jsonl" in printed


@pytest.mark.parametrize("damage", [name for name in WAYS if name != "a folder"])  # nothing can be written there
@pytest.mark.parametrize("heal", ["resume", "deploy of what serves"])
def test_a_resume_or_a_deploy_of_what_serves_writes_it_down_again(site: Place, damage: str, heal: str) -> None:
    hurt(site, damage)
    COMMANDS[heal](site)
    assert observe(site.settings, site.host).accepted == "r2"
    assert commands.abort(site.at) is None
    schema(site, "r1")
    commands.rollback(site.at)
    assert site.serving() == "r1"


@EVERY_DAMAGE
@pytest.mark.parametrize("step", ["StartColour", "Watch"])
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_after_an_interruption_a_damaged_ledger_leads_where_a_whole_one_does(
    site: Place, damage: str, step: str, then: str
) -> None:
    """The journal says what served when it was begun."""
    site.host.kill_at(STEPS.index(step), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    hurt(site, damage)
    if then == "abort" and damage in LOST and site.serving() == "r3":
        with pytest.raises(Refused, match="not known whether release r2 fits"):
            commands.abort(site.at)
        then = "resume"
    assert getattr(commands, then)(site.at)
    wanted = "r3" if then == "resume" else "r2"
    assert (site.serving(), site.running()) == (wanted, whole(wanted))
    assert site.steps(wanted) == ([] if (then, damage) != ("resume", "a folder") else ["Resume"]), (
        "it was not written down"
    )


@pytest.mark.parametrize("damage", NEWEST)
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_with_neither_ledger_nor_journal_nothing_is_emptied(site: Place, damage: str, then: str) -> None:
    """A release serves of which no record says that it was accepted: it is no first one that can go."""
    site.host.kill_at(STEPS.index("Watch"), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    hurt(site, damage)
    line = json.dumps({"command": "deploy", "state": "begin", "target": "r3", "started": "2026-01-01T00:00:00Z"})
    done = json.dumps({"command": "deploy", "state": "done", "target": "r2"})
    (site.state.folder / "journal.jsonl").write_text(f"{done}\n{line}\n")
    if then == "abort":
        with pytest.raises(Refused, match="whose ledger has no entry for it"):
            commands.abort(site.at)
    else:
        site.host.fail_at(0, lambda: None)
        with pytest.raises(OpsError) as failed:
            commands.resume(site.at)
        assert "nothing was undone" in failed.value.what
        assert "rollback --to" in failed.value.then
    assert site.serving() == "r3"


@pytest.mark.parametrize("damage", NEWEST)
def test_nothing_is_removed_while_the_ledger_cannot_say_what_is_needed(
    site: Place, damage: str, capsys: Printed
) -> None:
    kept = set(site.state.kept())
    hurt(site, damage)
    prune.prune(site.at, yes=True, json=False)
    site.deploy("r3")
    assert set(site.state.kept()) == kept | {"r3"}
    assert "does not say which releases are needed: none is removed" in capsys.readouterr().err
    if damage == "a folder":
        return
    for name in ("r4", "r5"):
        site.deploy(name)
    assert set(site.state.kept()) < kept | {"r3", "r4", "r5"}, "what came after it is enough to tell"
    assert {"r4", "r5"} <= set(site.state.kept())


@pytest.mark.parametrize("lines", [1, 2])
def test_a_rollback_goes_to_no_older_release_than_the_one_before(site: Place, lines: int) -> None:
    """The lines that name the newest releases are the ones that cannot be read."""
    *whole_lines, _ = ledger(site).read_text().split("\n")
    ledger(site).write_text("".join(f"{line}\n" for line in whole_lines[:-lines]))
    schema(site, "r1")
    at_the_end(ledger(site), b"\n".join([b"\0"] * lines))
    commands.rollback(site.at)
    assert site.serving() == "r1"


def test_a_rollback_is_recognised_by_the_idle_colour_where_the_journal_is_gone_too(site: Place) -> None:
    ledger(site).unlink()
    (site.state.folder / "journal.jsonl").unlink()
    schema(site, "r1")
    commands.rollback(site.at)
    assert site.serving() == "r1"


@pytest.mark.parametrize("state", ["failed", "aborted"])
def test_a_rollback_goes_to_no_release_that_failed_or_was_aborted(site: Place, state: str) -> None:
    """It is what is stopped in the idle colour, and no record says what served before."""
    ledger(site).unlink()
    (site.state.folder / "journal.jsonl").write_text(
        json.dumps({"command": "deploy", "state": state, "target": "r1"}) + "\n"
    )
    with pytest.raises(Refused, match="no record says which release served before r2") as raised:
        commands.rollback(site.at)
    assert "--to=RELEASE" in raised.value.then
    assert site.serving() == "r2"


def test_a_rollback_goes_not_back_to_what_a_rollback_left(site: Place) -> None:
    commands.rollback(site.at)
    ledger(site).write_text("\0\n")
    (site.state.folder / "journal.jsonl").write_text(
        json.dumps({"command": "rollback", "state": "done", "target": "r1"}) + "\n"
    )
    with pytest.raises(Refused, match="no record says which release served before r1"):
        commands.rollback(site.at)
    assert site.serving() == "r1"


def schema(place: Place, *names: str) -> None:
    """Have the ledger say of which schema releases are, and no more."""
    for name in names:
        entry = Record.model_validate_json(GOOD).model_copy(
            update={"release": name, "outcome": "failed", "schema_revision": "r1"}
        )
        place.state.record(entry)


def test_what_a_host_missed_is_not_taken_up_where_only_the_journals_know_what_came_after(
    tmp_path: Path, no_waiting: None
) -> None:
    fleet = Site(tmp_path)
    away, *others = (State(host, FOLDER) for host in fleet.hosts.values())
    away.note(command="deploy", state="begin", target="r3", started="2126-01-01T00:00:00Z", serving="r2")
    assert interruption(fleet.at)
    begin_run()
    for one in others:
        one.host.append(FOLDER / "ledger.jsonl", "{}")
        one.note(command="deploy", state="begin", target="r4", started="2126-01-01T00:00:09Z", serving="r2")
        one.note(command="deploy", state="done", target="r4")
    assert interruption(fleet.at) is None
