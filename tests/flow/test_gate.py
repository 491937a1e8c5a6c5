"""The gate in front of a deploy, and the migration behind it, on a fake host whose Alembic prints what a test says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.core.errors import GateClosed, Interrupted, OpsError
from deploy.core.shell import Command, Result
from deploy.database import alembic, attempts, gate
from deploy.rollout import migrations
from deploy.rollout.commands import rollback
from deploy.rollout.plan import Plan
from deploy.rollout.steps import Migrate
from deploy.site.facts import observe
from deploy.site.interrupted import require_no_other
from deploy.site.run import Fleet, Run
from tests.support.fake import FakeHost
from tests.support.place import Killed, Place, applied, bundled

AT_HEAD = "Rev: r2 (head) (current)\nParent: r1\n\nRev: r1\nParent: <base>\n"
PENDING = "Rev: r3 (head)\nParent: r2\nPath: /app/r3.py\n\nRev: r2 (current)\nParent: r1\n\nRev: r1\nParent: <base>\n"
MIGRATED = PENDING.replace(" (current)", "").replace("(head)", "(head) (current)")
SAFE, UNSAFE = "BEGIN; ALTER TABLE t ADD COLUMN c text; COMMIT;", "BEGIN; CREATE INDEX i ON t (c); COMMIT;"
LOCKED = Result(1, "", "psycopg.errors.LockNotAvailable: canceling statement due to lock timeout")
# as SQLAlchemy ends: behind the error stands the whole statement
LOCKED_LONG = Result(1, "", f"{LOCKED.stderr}\n[SQL: ALTER TABLE t" + "\n    ADD COLUMN c text," * 30 + "]")


class Database(FakeHost):
    """A host with an Alembic of values: what is pending, its SQL, how each try to migrate ends, who is in the way."""

    history, after, sql, file = AT_HEAD, MIGRATED, SAFE, ""
    tries: tuple[Result, ...] = ()
    old: str = ""
    invalid: str = ""
    droppable = True
    here = True

    def perform(self, command: Command) -> Result:
        """Answer as Alembic or psql would."""
        words = command.argv
        if words[-1] == "--indicate-current":
            return Result(0, self.history, "") if self.history else Result(1, "", "no such revision")
        if words[-2:] == ("upgrade", "head"):
            ended, self.tries = (self.tries[0], self.tries[1:]) if self.tries else (Result(0, "", ""), ())
            self.history = self.after if self.history == PENDING and not ended.returncode else self.history
            return ended
        if len(words) > 5 and words[-5] == "-c" and "--sql" in words[-4]:
            return Result(0, words[-3] + json.dumps(["r3", self.sql, "", self.file]), "")
        if words[:2] == ("docker", "exec") and words[-1] == "command -v psql":
            return Result(0 if self.here else 1, "", "")
        if words[:2] == ("docker", "exec") and "indisvalid" in words[-1]:
            return Result(0, self.invalid, "")
        if words[:2] == ("docker", "exec") and words[-1].startswith("DROP INDEX"):
            return Result(0 if self.droppable else 1, "", "canceling statement due to statement timeout")
        if words[:2] == ("docker", "exec") and "pg_stat_activity" in words[-1]:
            return Result(0, self.old, "")
        return super().perform(command)


@pytest.fixture
def shop(tmp_path: Path, no_waiting: None, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return an environment that serves r2, and whose database is at r2."""
    monkeypatch.setattr(attempts, "time", SimpleNamespace(sleep=lambda _: None))
    place = Place(tmp_path)
    place.host = Database(tmp_path / "edge")
    place.state = type(place.state)(place.host, tmp_path)
    place.at = place.at._replace(here=place.host, hosts=(place.host,))
    for name in ("r1", "r2"):
        place.deploy(name)
    place.host.executed.clear()
    return place


def host(place: Place) -> Database:
    assert isinstance(place.host, Database)
    return place.host


def stopped(place: Place, *words: str) -> GateClosed:
    """Let a deploy be stopped before anything is changed."""
    before = place.running(), place.journal(), len(place.state.ledger())
    with pytest.raises(GateClosed) as error:
        place.deploy("r3")
    assert (place.running(), place.journal(), len(place.state.ledger())) == before
    assert not [line for line in place.host.executed if "upgrade head" in line]
    assert [word for word in words if word not in error.value.what] == []
    assert (error.value.code, error.value.slug) == (3, "migration-unsafe")
    return error.value


def one_offs(place: Place) -> list[str]:
    return [line for line in place.host.executed if "oneoff=backend" in line]


def test_nothing_pending_is_asked_by_one_container_and_not_migrated(
    shop: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.deploy("r3")
    assert [line.split()[-1] for line in one_offs(shop)] == ["--indicate-current"]
    assert not [line for line in shop.host.executed if "psql" in line]
    assert "     nothing to migrate: the database has every revision" in capsys.readouterr().err
    schema = shop.state.schema()
    assert schema
    assert (schema.revision, schema.release) == ("r2", "r3")


@pytest.mark.parametrize("history", [AT_HEAD.replace(" (current)", ""), ""], ids=["at no revision", "no revisions"])
def test_a_database_that_did_not_say_where_it_is_is_migrated(shop: Place, history: str) -> None:
    step = Migrate("blue", "backend", ("alembic", "upgrade", "head"))
    run = replace(Run(shop.settings, shop.host, bundled("r3")), facts=observe(shop.settings, shop.host))
    assert step.is_done(run, alembic.history(AT_HEAD))
    assert not step.is_done(run, alembic.history(history))
    assert not replace(step, command=("alembic", "upgrade", "r1")).is_done(run, alembic.history(AT_HEAD))


def test_a_database_that_was_started_again_since_it_was_asked_is_migrated(shop: Place) -> None:
    step = Migrate("blue", "backend", ("alembic", "upgrade", "head"))
    run = replace(Run(shop.settings, shop.host, bundled("r3")), facts=observe(shop.settings, shop.host))
    data = next(c.name for c in run.facts.shared.values() if c.role == "data")
    shop.host.engine.change(data, started="2999-01-01T00:00:00Z")
    assert not step.is_done(run, alembic.history(AT_HEAD))


def test_a_safe_revision_passes_and_its_schema_is_recorded(shop: Place) -> None:
    host(shop).history = PENDING
    shop.deploy("r3")
    schema = shop.state.schema()
    assert schema
    assert (shop.serving(), schema.revision, schema.serves) == ("r3", "r3", ("r3", "r2", "r1"))
    assert rollback(shop.at).release == "r2"


def test_an_unsafe_revision_is_stopped_before_anything_changes(shop: Place) -> None:
    host(shop).history, host(shop).sql = PENDING, UNSAFE
    assert "inv migrate.lint" in stopped(shop, "FAIL revision r3: require-concurrent-index-creation").then


def test_a_reviewed_override_lets_it_through(shop: Place) -> None:
    host(shop).history, host(shop).sql = PENDING, UNSAFE
    host(shop).file = "# migrate: allow require-concurrent-index-creation owner=ann until=2999-01-01 reason=small"
    assert shop.deploy("r3").release == "r3"


def test_a_first_deploy_has_nobody_to_harm(tmp_path: Path, no_waiting: None) -> None:
    place = Place(tmp_path)
    place.deploy("r1")
    assert [line.split()[-1] for line in one_offs(place)] == ["head", "--indicate-current"]


def test_an_old_transaction_is_named(shop: Place) -> None:
    host(shop).history, host(shop).old = (
        PENDING,
        "process 7 of ann, a transaction of 900 s, idle in transaction: SELECT",
    )
    error = stopped(shop, "FAIL no transaction older than 300 s: process 7 of ann")
    assert "pg_terminate_backend" in error.then


def test_a_database_that_cannot_be_asked_is_unknown_unless_nobody_wants_to_know(shop: Place) -> None:
    host(shop).history, host(shop).here = PENDING, False
    stopped(shop, "UNKNOWN no transaction older than 300 s")
    rows = shop.settings.migrate.model_copy(update={"oldest_transaction": 0})
    shop.settings = shop.settings.model_copy(update={"migrate": rows})
    assert shop.deploy("r3").release == "r3"


def test_an_alembic_that_does_not_answer_closes_the_gate(shop: Place) -> None:
    host(shop).history, before = "", shop.journal()
    with pytest.raises(GateClosed, match="does not say which revisions the database lacks: no such revision") as error:
        shop.deploy("r3")
    assert (error.value.code, shop.serving(), shop.journal()) == (3, "r2", before)


def test_where_data_does_not_run_yet_the_step_looks(shop: Place) -> None:
    """The gate cannot ask a database that this deploy starts; what it finds then is a failure, and goes back."""
    host(shop).history, host(shop).sql = PENDING, UNSAFE
    shop.host.engine.change("shop-local-redis-1", state="exited", health="")
    with pytest.raises(OpsError, match="require-concurrent-index-creation") as error:
        shop.deploy("r3")
    assert (error.value.code, shop.serving()) == (1, "r2")
    assert not [line for line in shop.host.executed if "upgrade head" in line]


def test_a_host_that_came_later_migrates_through_the_gate_of_those_that_serve(
    shop: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the first by its name, and migrates their database; what a rollback needs is in their records."""
    new, folder = Database(tmp_path / "new" / "edge"), tmp_path / "new"
    new.name, new.history, new.sql = "app0", PENDING, UNSAFE
    later = Run(shop.settings.model_copy(update={"state": folder}), new, bundled("r3"))
    fleet = Fleet(shop.at._replace(hosts=(new, shop.host)), (later, Run(shop.settings, shop.host, bundled("r3"))))
    fleet = fleet.observed({run.host.name: observe(run.settings, run.host) for run in fleet.runs})
    step = Migrate("blue", "backend", ("alembic", "upgrade", "head"))
    plans = {run.host.name: Plan(run.release, "blue", 1, (step,) if run.host is new else ()) for run in fleet.runs}
    asked = migrations.require_safe(fleet, plans)
    assert (asked.migrates, asked.backup_due) == (True, True)
    with pytest.raises(GateClosed, match="require-concurrent-index-creation"):
        step.perform(asked.runs[0])
    assert not [line for line in new.executed if "upgrade head" in line]
    assert gate.targets(asked.runs[0].judged_by.state, "r3") == gate.targets(shop.state, "r3") != {}
    same = Fleet(fleet.at, tuple(replace(run, bundle=bundled("r2")) for run in fleet.runs))
    assert not migrations.require_safe(same, plans).backup_due, "what serves has migrated already"


def test_a_lock_is_tried_for_five_times_and_no_other_failure_is(shop: Place) -> None:
    host(shop).history, host(shop).tries = PENDING, (LOCKED, LOCKED_LONG) * 2
    shop.deploy("r3")
    assert len([line for line in shop.host.executed if "upgrade head" in line]) == 5


@pytest.mark.parametrize(
    ("tries", "slug", "times"),
    [((LOCKED,) * 5, "migration-blocked", 5), ((Result(1, "", "column c exists"),), "command-failed", 1)],
    ids=["locked for good", "another failure"],
)
def test_what_does_not_end_well_goes_back(shop: Place, tries: tuple[Result, ...], slug: str, times: int) -> None:
    host(shop).history, host(shop).tries = PENDING, tries
    with pytest.raises(OpsError) as error:
        shop.deploy("r3")
    assert (error.value.slug, shop.serving()) == (slug, "r2")
    assert len([line for line in shop.host.executed if "upgrade head" in line]) == times


def test_the_container_has_the_time_outs(shop: Place) -> None:
    host(shop).history = PENDING
    shop.deploy("r3")
    (upgrade,) = [line for line in shop.host.executed if "upgrade head" in line]
    assert "PGOPTIONS=-c lock_timeout=2000 -c statement_timeout=60000" in upgrade


@pytest.fixture
def fleet(shop: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Let the checkout be r3, with a pending revision."""
    host(shop).history = PENDING
    shop.state.keep(bundled("r3"))

    def prepared(*_: object) -> tuple[Fleet, gate.Image, str]:
        run = Run(shop.settings, shop.host, bundled("r3"))
        made = Fleet(shop.at, (run,)).observed({shop.host.name: observe(shop.settings, shop.host)})
        return made, migrations.image_of(made), ""

    monkeypatch.setattr(migrations, "prepared", prepared)
    return shop


def test_migrate_migrates_and_switches_nothing(fleet: Place) -> None:
    assert migrations.migrate(fleet.at) == "r3"
    assert (fleet.serving(), fleet.journal()[-1]["command"], fleet.journal()[-1]["state"]) == ("r2", "migrate", "done")
    fleet.host.executed.clear()
    fleet.deploy("r3")
    assert [line.split()[-1] for line in one_offs(fleet)] == ["--indicate-current"]


def test_migrate_is_stopped_by_the_gate(fleet: Place) -> None:
    host(fleet).sql = UNSAFE
    before = fleet.journal()
    with pytest.raises(GateClosed):
        migrations.migrate(fleet.at)
    assert fleet.journal() == before


def test_lint_and_status_change_nothing(fleet: Place) -> None:
    before = fleet.journal()
    assert [check.result for check in migrations.lint(fleet.at)] == ["PASS"] * 3
    status = migrations.status(fleet.at)
    assert (status.revision, status.pending, status.heads) == ("r2", ("r3",), ("r3",))
    assert fleet.journal() == before


def test_an_interrupted_migration_is_gone_on_with_or_left(fleet: Place) -> None:
    fleet.host.kill_at(0, "begin", Killed)
    with pytest.raises(Killed):
        migrations.migrate(fleet.at)
    with pytest.raises(Interrupted):
        require_no_other(fleet.at)
    assert migrations.resume(fleet.at) == "r3"
    require_no_other(fleet.at)
    fleet.host.kill_at(0, "begin", Killed)
    with pytest.raises(Killed):
        migrations.migrate(fleet.at)
    assert migrations.abort(fleet.at) == "r3"
    require_no_other(fleet.at)
    assert fleet.serving() == "r2"


def test_a_failed_migration_is_over(fleet: Place) -> None:
    host(fleet).tries = (Result(1, "", "column c exists"),)
    with pytest.raises(OpsError):
        migrations.migrate(fleet.at)
    assert fleet.journal()[-1]["state"] == "failed"
    require_no_other(fleet.at)


def test_a_resumed_deploy_is_asked_again(shop: Place) -> None:
    host(shop).history = PENDING
    fleet = Fleet(shop.at, (Run(shop.settings, shop.host, bundled("r3")),))
    shop.state.keep(bundled("r3"))
    assert applied(fleet, "deploy", resumed=True).release == "r3"


def test_an_index_that_a_failed_build_left_is_dropped_before_the_migration(shop: Place) -> None:
    host(shop).history, host(shop).invalid = PENDING, "notes_text\n"
    shop.deploy("r3")
    dropped = next(
        at for at, output in enumerate(shop.host.executed) if "DROP INDEX CONCURRENTLY IF EXISTS notes_text" in output
    )
    assert dropped < next(at for at, output in enumerate(shop.host.executed) if output.endswith("upgrade head"))


def test_an_invalid_index_that_cannot_be_dropped_stops_nothing(shop: Place, capsys: pytest.CaptureFixture[str]) -> None:
    host(shop).history, host(shop).invalid, host(shop).droppable = PENDING, "notes_text\n", False
    assert shop.deploy("r3").release == "r3"
    assert "an invalid index could not be dropped" in capsys.readouterr().err


def test_nothing_is_dropped_where_nothing_is_pending(shop: Place) -> None:
    host(shop).invalid = "notes_text\n"
    shop.deploy("r3")
    assert not [line for line in shop.host.executed if "indisvalid" in line or "DROP INDEX" in line]
