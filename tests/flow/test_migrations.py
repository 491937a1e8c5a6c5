"""The way back of an app whose migration tool is not Alembic: it prints the migrations that its code knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, Result
from deploy.rollout import commands, recovery_point
from deploy.rollout.apply import Outcome
from deploy.rollout.fleet_plan import make_plans
from deploy.rollout.steps import Step
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run
from deploy.state.store import Bundle, State
from tests.support.apart import Apart, Site
from tests.support.fake import FakeHost
from tests.support.place import Killed, Place, applied, bundled

Block = Mapping[str, object]
# a script applies files of plain SQL, and prints their names
SCRIPT: Mapping[str, Block] = {"backend": {"migrate": ("sh", "migrate.sh"), "migrations": ("migrations",)}}
# the app's own job does it
JOB: Mapping[str, Block] = {"backend": {"migrate": (), "migrations": ("migrations",)}}
UNLISTED: Mapping[str, Block] = {"backend": {"migrate": ("python", "manage.py", "migrate"), "migrations": ()}}


class Database(FakeHost):
    """A host whose releases print their migrations."""

    listed: Mapping[str, str] = {}

    def perform(self, command: Command) -> Result:
        """Print what the code of a release knows."""
        if command.argv[-1] == "migrations":
            return Result(0, self.listed[Path(command.argv[5]).parent.name], "")
        return super().perform(command)


class Listing(Place):
    """An environment whose releases say by which tool they migrate."""

    def __init__(self, folder: Path, blocks: Mapping[str, Block] = SCRIPT) -> None:
        super().__init__(folder)
        self.host: Database = Database(folder / "edge")
        self.state, self.blocks = State(self.host, folder), blocks
        self.at = Environment(self.settings, self.host, (self.host,))

    def release(self, name: str) -> Bundle:
        """Make a release with these blocks."""
        return with_blocks(name, self.blocks)

    def deploy_with(self, name: str, *migrations: str) -> Outcome:
        """Deploy a release that knows these migrations."""
        self.host.listed = {**self.host.listed, name: "\n".join(migrations)}
        bundle = self.release(name)
        self.state.keep(bundle)
        return applied(Fleet(self.at, (Run(self.settings, self.host, bundle),)), "deploy")


def with_blocks(name: str, blocks: Mapping[str, Block]) -> Bundle:
    """Make a release whose services have these keys in their x-deploy blocks."""
    bundle = bundled(name)
    services = tuple(
        s.model_copy(update={"deploy": s.deploy.model_copy(update=dict(blocks.get(s.name, {})))})
        for s in bundle.release.services
    )
    return replace(bundle, release=bundle.release.model_copy(update={"services": services}))


def refused(place: Place, *words: str) -> Refused:
    """Let a rollback be refused before anything is changed."""
    before = place.running(), place.journal()
    with pytest.raises(Refused) as error:
        commands.rollback(place.at)
    assert (place.running(), place.journal()) == before
    assert [word for word in words if word not in str(error.value)] == []
    assert (error.value.code, error.value.slug) == (2, "schema-does-not-fit")
    return error.value


@pytest.fixture(params=[SCRIPT, JOB], ids=["a script", "the app's own job"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, no_waiting: None) -> Listing:
    """Return an environment on which nothing is deployed."""
    return Listing(tmp_path, request.param)


def test_a_rollback_goes_between_releases_with_the_same_migrations(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books", "2_notes")
    shop.deploy_with("r2", "1_books", "2_notes")
    assert commands.rollback(shop.at).release == shop.serving() == "r1"


def test_a_rollback_goes_past_a_migration_that_is_marked_compatible(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_notes compatible")
    assert commands.rollback(shop.at).release == shop.serving() == "r1"


def test_a_rollback_past_any_other_migration_is_refused_and_names_it(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_drop_title", "3_tags compatible")
    error = refused(shop, "migrations that release r1 lacks, not marked compatible: 2_drop_title")
    assert "inv rollback --to=r1 --schema-fits=REASON" in error.then
    assert "3_tags" not in str(error)


def test_what_the_database_has_is_not_forgotten_by_code_that_does_not_know_it(shop: Listing) -> None:
    """The fix of a bad night is made from an older branch."""
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_drop_title")
    shop.deploy_with("r3", "1_books")
    assert commands.rollback(shop.at).release == "r2"
    with pytest.raises(Refused, match="2_drop_title"):
        commands.rollback(shop.at, to="r1")


def test_a_mark_that_came_later_counts(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_notes")
    refused(shop, "2_notes")
    shop.deploy_with("r3", "1_books", "2_notes compatible")
    assert commands.rollback(shop.at, to="r1").release == shop.serving() == "r1"


def test_a_person_who_says_that_the_schema_fits_is_believed_and_recorded(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_drop_title")
    refused(shop, "2_drop_title")
    commands.rollback(shop.at, schema_fits="nothing reads the title")
    line = shop.state.ledger()[-1]
    assert (line.release, line.schema_fits) == ("r1", "nothing reads the title")
    assert (bool(line.who), bool(line.started)) == (True, True)


def test_what_a_person_decided_is_recorded_also_when_the_rollback_was_interrupted(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_drop_title")
    shop.host.kill_at(2, "begin", Killed)
    with pytest.raises(Killed):
        commands.rollback(shop.at, schema_fits="nothing reads the title")
    commands.resume(shop.at)
    assert (shop.serving(), shop.state.ledger()[-1].schema_fits) == ("r1", "nothing reads the title")


@pytest.mark.parametrize("mark", ["", " compatible"], ids=["not marked", "compatible"])
def test_abort_after_the_switch_asks_the_same(shop: Listing, mark: str) -> None:
    shop.deploy_with("r1", "1_books")
    name = f"2_notes{mark}"
    shop.host.listed = {**shop.host.listed, "r2": f"1_books\n{name}"}
    steps = [step.name for step in plan_of(shop, "r2")]
    shop.host.kill_at(steps.index("Watch"), "begin", Killed)
    with pytest.raises(Killed):
        shop.deploy_with("r2", "1_books", name)
    if mark:
        assert commands.abort(shop.at)
    else:
        with pytest.raises(Refused, match="2_notes") as error:
            commands.abort(shop.at)
        assert "--to=r1 --schema-fits=REASON" in error.value.then
        commands.rollback(shop.at, to="r1", schema_fits="it only adds a table")
    assert shop.serving() == "r1"


def plan_of(place: Listing, name: str) -> tuple[Step, ...]:
    """Return the steps of a deploy."""
    fleet = Fleet(place.at, (Run(place.settings, place.host, place.release(name)),)).observed(observe_all(place.at))
    return make_plans(fleet, "deploy")[place.host.name].steps


@pytest.mark.parametrize(
    "printed",
    ["", "[X] books.0001_initial", "1_books incompatible"],
    ids=["nothing", "another form", "a mark of no meaning"],
)
def test_what_is_no_list_of_migrations_fails_the_deploy(shop: Listing, printed: str) -> None:
    shop.deploy_with("r1", "1_books")
    with pytest.raises(OpsError, match="must print the migrations that the code knows") as error:
        shop.deploy_with("r2", printed)
    assert (error.value.code, shop.serving()) == (1, "r1")
    assert "x-deploy.migrations" in error.value.then


def test_a_list_that_cannot_be_read_is_noticed_before_the_script_migrates(tmp_path: Path, no_waiting: None) -> None:
    shop = Listing(tmp_path, SCRIPT)
    with pytest.raises(OpsError, match="it printed no migration"):
        shop.deploy_with("r1")
    assert not [command for command in shop.host.executed if "migrate.sh" in command]


def test_an_app_that_prints_none_still_has_a_way_back_for_a_person(tmp_path: Path, no_waiting: None) -> None:
    shop = Listing(tmp_path, UNLISTED)
    shop.deploy_with("r1")
    shop.deploy_with("r2")
    refused(shop, "it is not known whether release r1 fits", "--schema-fits=REASON")
    commands.rollback(shop.at, schema_fits="both have the same migrations")
    assert shop.serving() == "r1"


def test_a_host_that_gets_the_list_later_knows_nothing_of_what_was_before(tmp_path: Path, no_waiting: None) -> None:
    shop = Listing(tmp_path, UNLISTED)
    shop.deploy_with("r1")
    shop.blocks = SCRIPT
    shop.deploy_with("r2", "1_books")
    shop.deploy_with("r3", "1_books")
    assert commands.rollback(shop.at).release == "r2"
    with pytest.raises(Refused, match="not known"):
        commands.rollback(shop.at, to="r1")


def test_keys_of_a_newer_toolkit_stay_with_the_migrations(shop: Listing) -> None:
    shop.deploy_with("r1", "1_books")
    path = shop.state.folder / "schema.json"
    entry = json.loads(path.read_text())
    entry["migrations"][0]["locks"], entry["drifted"] = "none", True
    path.write_text(json.dumps(entry))
    shop.deploy_with("r2", "1_books", "2_notes")
    kept = json.loads(path.read_text())
    assert (kept["migrations"][0]["locks"], kept["drifted"]) == ("none", True)
    assert [one["name"] for one in kept["migrations"]] == ["1_books", "2_notes"]


def test_an_older_toolkit_judges_by_the_same_record(shop: Listing) -> None:
    """It knows no migrations, but a revision and those that it serves."""
    shop.deploy_with("r1", "1_books")
    shop.deploy_with("r2", "1_books", "2_notes compatible")
    schema = shop.state.schema()
    assert schema
    assert [line.schema_revision in schema.serves for line in shop.state.ledger()] == [True, True]
    assert schema.serves[0] == schema.revision


@pytest.mark.parametrize("again", [False, True], ids=["forward only", "on_rollback"])
def test_a_job_runs_on_the_way_back_only_where_it_says_so(tmp_path: Path, no_waiting: None, again: bool) -> None:
    shop = Listing(tmp_path, {**SCRIPT, "site": {"on_rollback": again}})
    for name in ("r1", "r2"):
        shop.deploy_with(name, "1_books")
    shop.host.executed.clear()
    commands.rollback(shop.at)
    assert len([command for command in shop.host.executed if "oneoff=site" in command]) == again


class Printing(Apart):
    """One of several hosts; where the app's job is, its code prints two migrations."""

    def perform(self, command: Command) -> Result:
        """Print them."""
        if command.argv[-1] == "migrations":
            return Result(0, "1_books\n2_notes\n", "")
        return super().perform(command)


def test_what_the_job_of_one_host_migrates_every_host_knows(tmp_path: Path, no_waiting: None) -> None:
    site = Site(tmp_path, kind=Printing)
    listing, silent = with_blocks("r3", JOB), with_blocks("r3", {"backend": {"migrate": ()}})
    runs = [Run(site.settings, host, silent if name != "app2" else listing) for name, host in site.hosts.items()]
    for run in runs:
        run.state.keep(run.bundle)
    applied(Fleet(site.at, tuple(runs)), "deploy")
    migrations = {name: facts.schema and facts.schema.migrations for name, facts in site.facts().items()}
    assert [[one.name for one in found or ()] for found in migrations.values()] == [["1_books", "2_notes"]] * 3
    assert len({run.state.ledger()[-1].schema_revision for run in runs} - {None}) == 1


def warned(capsys: pytest.CaptureFixture[str]) -> bool:
    """Tell whether a backup before the migration was asked for; these apps have no service that takes one."""
    return "no backup before the migration" in capsys.readouterr().err


def test_a_backup_is_asked_for_only_before_migrations_that_the_database_lacks(
    shop: Listing, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.deploy_with("r1", "0001")
    assert not warned(capsys), "a first deploy has no data"
    shop.deploy_with("r2", "0001")
    assert not warned(capsys), "the database has it"
    shop.deploy_with("r3", "0001", "0002")
    assert warned(capsys)


def test_a_backup_is_asked_for_before_each_migration_that_nobody_can_look_into(
    tmp_path: Path, no_waiting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Listing(tmp_path, UNLISTED)
    shop.deploy_with("r1")
    assert not warned(capsys)
    shop.deploy_with("r2")
    assert warned(capsys)


def downed(shop: Listing) -> None:
    """Leave what `inv down` leaves: the data and the records, and no container."""
    shop.host.engine.observed.clear()
    shop.host.engine.made, shop.host.answer = frozenset(), ""
    shop.state.note(command="down", state="done", volumes=False)


def test_after_down_a_backup_is_due_once_data_runs_and_only_for_another_release(
    shop: Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of a database that does not run would fail, and so would every `inv deploy` after `inv down`."""
    running = list[bool]()

    def require(_: object) -> None:
        running.append(any(one.role == "data" and one.alive for one in shop.host.engine.observed.values()))

    monkeypatch.setattr(recovery_point, "require", require)
    shop.deploy_with("r1", "0001")
    downed(shop)
    shop.deploy_with("r1", "0001")
    assert running == [], "what served has migrated already"
    downed(shop)
    shop.deploy_with("r2", "0001", "0002")
    assert running == [True]
