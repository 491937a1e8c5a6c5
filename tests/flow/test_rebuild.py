"""A release whose release.json is gone.

What runs is shown and left in order, and what stopped well can be gone back to.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.core.errors import GateClosed, OpsError, Refused
from deploy.core.model import Deploy, block_of
from deploy.insight import services, status
from deploy.rollout import commands, scale
from deploy.site import rebuild
from deploy.site.facts import observe
from deploy.site.run import Run, kept_run
from deploy.state import folder as records
from tests.flow.test_days_work import Printed
from tests.flow.test_records import COMMANDS, refused, site
from tests.support.place import EVERY_STEP, STEPS, Killed, Place, bundled, whole

__all__ = ["site"]  # a fixture


def truncated(place: Place, release: str) -> None:
    path = place.state.bundle_folder(release) / "release.json"
    path.write_text(path.read_text()[:200])


def missing(place: Place, release: str) -> None:
    (place.state.bundle_folder(release) / "release.json").unlink()


def zeros(place: Place, release: str) -> None:
    (place.state.bundle_folder(release) / "release.json").write_bytes(b"\0" * 900)


def no_text(place: Place, release: str) -> None:
    (place.state.bundle_folder(release) / "release.json").write_bytes(b'{"id": "\xff\xfe"}')


def another_shape(place: Place, release: str) -> None:
    (place.state.bundle_folder(release) / "release.json").write_text("[]")


def a_folder(place: Place, release: str) -> None:
    missing(place, release)
    (place.state.bundle_folder(release) / "release.json").mkdir()


def bundle_gone(place: Place, release: str) -> None:
    shutil.rmtree(place.state.bundle_folder(release))


def all_zeros(place: Place, release: str) -> None:
    """Every file of the bundle is as long as before, and empty: a crash before they were on the disk."""
    for path in place.state.bundle_folder(release).iterdir():
        path.write_bytes(b"\0" * path.stat().st_size)


DAMAGES = (truncated, missing, zeros, no_text, another_shape, a_folder, bundle_gone, all_zeros)
EVERY_DAMAGE = pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
Damage = Callable[[Place, str], None]


TABLE = [(damage, name) for damage in DAMAGES for name in COMMANDS if name != "maintenance"]
TABLE.remove((a_folder, "deploy of what serves"))  # nothing can be written there


@pytest.mark.parametrize(("damage", "command"), TABLE, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_release_that_serves_stops_no_command(site: Place, damage: Damage, command: str) -> None:
    damage(site, "r2")
    COMMANDS[command](site)
    wanted = {"deploy": "r3", "rollback": "r1", "rollback --to": "r1"}.get(command, "r2")
    assert (site.serving(), site.running()) == (wanted, whole(wanted))


def test_without_any_release_what_runs_is_shown_and_what_visitors_get(site: Place, capsys: Printed) -> None:
    shutil.rmtree(site.state.folder / "releases")
    status.show(site.at, json=True)
    shown = json.loads(capsys.readouterr().out)
    assert (shown["release"], shown["hosts"][0]["edge"]["answers"]) == ("r2", True)
    site.host.deaf = "backend"
    with pytest.raises(GateClosed, match=r"visitors get errors:\n +localhost: backend answers 502"):
        status.show(site.at, json=False)
    with pytest.raises(Refused, match="service `site` has no container"):
        services.find(site.at, ["site"])


@EVERY_STEP
@pytest.mark.parametrize("damage", [truncated, bundle_gone], ids=lambda damage: damage.__name__)
def test_a_failure_at_any_step_leads_back_to_a_release_whose_record_is_gone(
    site: Place, damage: Damage, number: int
) -> None:
    damage(site, "r2")
    site.host.fail_at(number, lambda: None)
    with pytest.raises(OpsError):
        site.deploy("r3")
    assert (site.serving(), site.running()) == ("r2", whole("r2"))


@pytest.mark.parametrize("step", ["StartColour", "Watch", "StopColour"])
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_an_interruption_ends_well_over_a_release_whose_record_is_gone(site: Place, step: str, then: str) -> None:
    truncated(site, "r2")
    site.host.kill_at(STEPS.index(step), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    assert getattr(commands, then)(site.at)
    wanted = "r3" if then == "resume" else "r2"
    assert (site.serving(), site.running()) == (wanted, whole(wanted))


def test_a_deploy_that_was_cut_off_is_not_resumed_by_half_of_its_containers(site: Place) -> None:
    none(site)
    site.host.kill_at(STEPS.index("StartColour"), "done", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    truncated(site, "r3")
    for file in ("blue.yml", "green.yml"):  # no file says that some are missing
        (site.state.bundle_folder("r3") / file).unlink()
    with pytest.raises(Refused, match=r"release\.json cannot be read"):
        commands.resume(site.at)
    assert commands.abort(site.at)
    assert (site.serving(), site.running()) == ("r2", whole("r2"))


@EVERY_DAMAGE
def test_a_rollback_without_the_record_starts_what_stopped_as_it_is(
    site: Place, damage: Damage, capsys: Printed
) -> None:
    """Through the edge and by one switch, as any other; nothing is recreated."""
    damage(site, "r1")
    there = {c.name for c in site.host.engine.observed.values() if c.release == "r1"}
    site.host.executed.clear()
    outcome = commands.rollback(site.at)
    assert (outcome.release, site.serving(), site.running()) == ("r1", "r1", whole("r1"))
    assert {c.name for c in site.host.engine.observed.values() if c.release == "r1"} == there
    assert not [words for words in site.host.executed if "docker compose" in words]
    assert [line["step"] for line in site.journal()[-30:] if line.get("state") == "begin" and "step" in line].count(
        "AwaitServed"
    ) == 1
    output = capsys.readouterr().err
    assert "release r1 is put together from its containers, which are started as they are: " in output
    assert all(name in output for name in there)
    assert "sha256:app/backend" in output
    assert site.steps("r1") == []
    assert commands.resume(site.at) is None
    assert commands.abort(site.at) is None
    site.deploy("r3")
    assert (site.serving(), site.running()) == ("r3", whole("r3"))


ROLLBACK = ("StartColour", "AwaitHealthy", "AwaitServed", "Switch", "Drain", "StopColour")


@pytest.mark.parametrize("number", range(len(ROLLBACK)))
def test_a_rollback_without_the_record_that_fails_leads_back(site: Place, number: int) -> None:
    truncated(site, "r1")
    site.host.fail_at(1 + number, lambda: None)  # Redis starts first
    with pytest.raises(OpsError):
        commands.rollback(site.at)
    assert (site.serving(), site.running()) == ("r2", whole("r2"))


@pytest.mark.parametrize("then", ["resume", "abort"])
@pytest.mark.parametrize("number", [2, 4, 5])
def test_a_rollback_without_the_record_that_is_cut_off_ends_well(site: Place, number: int, then: str) -> None:
    truncated(site, "r1")
    site.host.kill_at(number, "begin", Killed)
    with pytest.raises(Killed):
        commands.rollback(site.at)
    assert getattr(commands, then)(site.at)
    wanted = "r1" if then == "resume" else "r2"
    assert (site.serving(), site.running()) == (wanted, whole(wanted))


def of(place: Place, release: str) -> list[str]:
    return [c.name for c in place.host.engine.observed.values() if c.release == release]


def another_release(place: Place) -> None:
    """A later try has begun to take its place."""
    place.host.engine.change(of(place, "r1")[0], release="r9")


def none(place: Place) -> None:
    for name in of(place, "r1"):
        del place.host.engine.observed[name]


def one_removed(place: Place) -> None:
    del place.host.engine.observed[of(place, "r1")[1]]


def another_image(place: Place) -> None:
    place.host.engine.change(of(place, "r1")[0], image="sha256:other")


def no_label(place: Place) -> None:
    place.host.engine.change(of(place, "r1")[0], deploy=None)


def no_edge(place: Place) -> None:
    (place.state.bundle_folder("r1") / "routes.green.conf").unlink()
    for path in (place.state.folder / "edge" / "generations").glob("*/route.json"):
        if json.loads(path.read_text())["release"] == "r1":
            shutil.rmtree(path.parent)


@pytest.mark.parametrize(("change", "words"), [
    (another_release, "containers of r9 are beside them"), (none, "it has no containers here"),
    (one_removed, "has no container"),
    (another_image, "is of another image than its compose file says"),
    (no_label, "without the label that says what it is for"), (no_edge, "the edge's configuration for it is gone too"),
], ids=lambda value: getattr(value, "__name__", ""))  # fmt: skip
def test_what_does_not_fit_is_refused_before_anything_changes(
    site: Place, change: Callable[[Place], None], words: str
) -> None:
    truncated(site, "r1")
    change(site)
    site.host.executed.clear()
    with pytest.raises(Refused, match=words) as raised:
        commands.rollback(site.at)
    assert "release.json cannot be read" in refused(raised.value)
    assert "inv rollback --to=RELEASE" in raised.value.then
    assert (site.serving(), site.host.executed) == ("r2", [])


@pytest.mark.parametrize("release", ["r1", "r2"])
def test_what_an_earlier_release_has_left_in_the_colour_does_not_matter(site: Place, release: str) -> None:
    """A service that later releases do not have: nobody removes what is stopped of it."""
    containers = site.host.engine.observed
    left = replace(
        containers[of(site, release)[0]], name="left", service="gone", release="r0", state="exited", health=""
    )
    containers["left"] = left
    truncated(site, release)
    commands.rollback(site.at)
    assert (site.serving(), site.running()) == ("r1", whole("r1"))
    assert rebuild.release(site.state, release, tuple(containers.values()))


def test_what_is_named_or_scaled_needs_the_record(site: Place) -> None:
    truncated(site, "r1")
    truncated(site, "r2")
    for act in (lambda: commands.rollback(site.at, to="r1"), lambda: scale.scale(site.at, "backend=2")):
        with pytest.raises(Refused, match=r"release\.json cannot be read") as raised:
            act()
        assert "inv deploy of that commit writes it again" in refused(raised.value)
    assert (site.serving(), site.running()) == ("r2", whole("r2"))


def test_replicas_that_were_scaled_come_back_as_many_as_there_are(site: Place) -> None:
    """Chosen numbers hold for releases that can be made, and this one cannot."""
    truncated(site, "r1")
    site.state.keep_scale({"backend": 3})
    commands.rollback(site.at)
    assert sum(name == "backend" for name, _ in site.containers()) == 1


def test_what_containers_show_is_what_the_record_says(site: Place) -> None:
    shown = rebuild.assembled("r2", site.host.engine.observed.values(), site.state.ledger(), Refused("gone"))
    recorded = kept_run(site.at, site.host, "r2").release
    here = {s.name: s for s in recorded.of("web", "worker", "scheduler")}
    assert {s.name: (s.deploy, s.image, s.replicas) for s in shown.of("web", "worker", "scheduler")} == {
        name: (s.deploy, s.image, s.replicas) for name, s in here.items()
    }
    assert {s.name for s in shown.of("data", "edge")} == {"redis", "edge"}
    assert (shown.revision, shown.commit_time) == (recorded.revision, recorded.commit_time)


@pytest.mark.parametrize("text", ["", "{", "\0", "[]", '{"role": "king"}'])
def test_a_label_that_cannot_be_read_is_none(text: str) -> None:
    assert block_of(text) is None
    assert block_of(Deploy(role="web", drain=("sh", "-c", "echo $HOME")).model_dump_json()) is not None


def test_a_deploy_that_serves_gets_its_record_back_by_another_deploy_of_it(site: Place) -> None:
    truncated(site, "r2")
    site.deploy("r2")
    assert site.state.release("r2").model_copy(update={"sums": ""}) == bundled("r2").release


def route(place: Place) -> Path:
    return place.state.folder / "edge" / "proven" / "route.json"


ROUTES = {
    "half": b'{"generation": 4, "col', "NULs": b"\0" * 90, "no text": b"\xff\xfe", "a list": b"[1]", "a number": b"7",
    "empty": b"",
    "of other kinds": b'{"generation": "x", "colour": 3, "release": [], "members": {"a": 1}}', "deep": b"[" * 100_000,
}  # fmt: skip
A_FOLDER = b"a folder in its place"
ROUTES["a folder"] = A_FOLDER
EVERY_ROUTE = pytest.mark.parametrize("text", ROUTES.values(), ids=ROUTES)
SOME = ("status", "logs", "deploy", "deploy of what serves", "resume", "abort", "maintenance")


@EVERY_ROUTE
@pytest.mark.parametrize("command", SOME)
@pytest.mark.parametrize("edge", ["running", "exited"])
def test_without_the_edges_own_record_its_files_and_what_runs_tell(
    site: Place, text: bytes, command: str, edge: str
) -> None:
    route(site).write_bytes(text)
    if text == A_FOLDER:
        route(site).unlink()
        route(site).mkdir()
    if edge == "exited":
        site.host.engine.change("shop-local-edge-1", state="exited", health="")
    if edge == "exited" and command == "maintenance":
        with pytest.raises(Refused, match="the edge does not run"):
            COMMANDS[command](site)
    elif edge == "exited" and command == "status":
        with pytest.raises(GateClosed, match="visitors get nothing"):
            COMMANDS[command](site)
    else:
        COMMANDS[command](site)
    wanted = "r3" if command == "deploy" else "r2"
    found = observe(site.settings, site.host).edge
    assert found.release == wanted
    assert {c.name for c in site.host.engine.observed.values() if c.role == "web" and c.alive} == set(found.members)


def test_a_replica_of_the_other_colour_is_still_seen_without_the_record(tmp_path: Path, no_waiting: None) -> None:
    """A rolling release that is half in service: what the edge still names is not stopped under it."""
    place = Place(tmp_path, replicas=2)
    for name in ("r1", "r2"):
        place.deploy(name)
    place.host.kill_at([*place.steps("r3")].index("Switch") + 1, "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    before = observe(place.settings, place.host)
    assert before.mixed
    route(place).write_text("{")
    assert set(observe(place.settings, place.host).edge.members) == set(before.edge.members)


def test_an_edge_that_is_down_without_its_record_is_to_be_started(site: Place) -> None:
    """Both colours have stopped containers, and no file tells either.

    Nobody can tell which was in service, but the edge.
    """
    route(site).write_text("{")
    route(site).with_name("inner.conf").write_text("")
    for name in [name for name, c in site.host.engine.observed.items() if c.colour or c.role == "edge"]:
        site.host.engine.change(name, state="exited", health="")
    with pytest.raises(OpsError, match=r"route\.json cannot be read") as raised:
        COMMANDS["status"](site)
    assert "docker start shop-local-edge-1" in raised.value.then


BROKEN = pytest.mark.parametrize(
    "text", ["{", "\0\0", "[]", '{"revision": 3}', ""], ids=["half", "NULs", "a list", "another shape", "empty"]
)


@BROKEN
@pytest.mark.parametrize("command", COMMANDS)
def test_a_schema_that_cannot_be_read_refuses_rollbacks_and_nothing_else(site: Place, text: str, command: str) -> None:
    (site.state.folder / "schema.json").write_text(text)
    if "rollback" in command:
        with pytest.raises(Refused, match="not known whether release r1 fits"):
            COMMANDS[command](site)
        site.deploy("r3")
        commands.rollback(site.at)
        assert site.serving() == "r2"
    else:
        COMMANDS[command](site)
        assert site.serving() == ("r3" if command == "deploy" else "r2")


@BROKEN
@pytest.mark.parametrize("command", ["status", "logs", "history", "exec", "prune"])
def test_numbers_that_cannot_be_read_matter_to_no_look(site: Place, text: str, command: str) -> None:
    (site.state.folder / "scale.json").write_text(text)
    COMMANDS[command](site)


JOURNALS = {
    "NULs": b"\0" * 99,
    "no text": b"\xff\n\xfe\n",
    "deep": b"[" * 100_000 + b"\n",
    "another shape": b'{"command": []}\n',
}


@pytest.mark.parametrize("text", JOURNALS.values(), ids=JOURNALS)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_journal_that_cannot_be_read_stops_no_command(site: Place, text: bytes, command: str) -> None:
    (site.state.folder / "journal.jsonl").write_bytes(text)
    COMMANDS[command](site)
    wanted = {"deploy": "r3", "rollback": "r1", "rollback --to": "r1"}.get(command, "r2")
    assert (site.serving(), site.running()) == (wanted, whole(wanted))


@pytest.mark.parametrize("command", ["status", "logs", "history", "exec"])
def test_a_folder_in_the_journals_place_matters_to_no_look(
    site: Place, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr(records, "WARNED", set())
    (site.state.folder / "journal.jsonl").unlink()
    (site.state.folder / "journal.jsonl").mkdir()
    COMMANDS[command](site)


def test_what_is_left_is_known_without_its_record(site: Place) -> None:
    """Its workers are told to take no new tasks by its own words, which the next release may not have."""
    recorded = Run(site.settings, site.host, bundled("r3"), observe(site.settings, site.host)).serving_release
    truncated(site, "r2")
    shown = Run(site.settings, site.host, bundled("r3"), observe(site.settings, site.host)).serving_release
    assert recorded
    assert shown
    assert shown.of("worker") == recorded.of("worker")
