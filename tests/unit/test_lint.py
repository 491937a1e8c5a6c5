"""What the gate finds in the SQL of a revision, and which overrides count."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from deploy.core.errors import GateClosed, OpsError
from deploy.core.model import Revision
from deploy.database import alembic, gate, lint
from deploy.database.alembic import Rendered
from deploy.database.overrides import overrides

TODAY = date(2026, 11, 30)
LINE = "# migrate: allow {rule} owner=ann until={until} reason=small table\n"
HISTORY = (
    Revision("4", "3", False, True, True),
    Revision("3", "2", False, False),
    Revision("2", "1", True, False),
    Revision("1", "<base>", False, False),
)


def rules(sql: str, *, contract: bool = False, fresh: tuple[str, ...] = ()) -> list[str]:
    """Name the rules that a revision breaks."""
    text = f"BEGIN; {sql}; COMMIT;"  # as Alembic prints it
    return sorted({finding.rule for finding in lint.findings(text, {*fresh}, contract=contract)})


@pytest.mark.parametrize(
    ("sql", "broken"),
    [
        ("ALTER TABLE t ADD COLUMN c text", []),
        ("CREATE TABLE t (id bigint PRIMARY KEY); CREATE INDEX i ON t (id)", []),
        ("COMMIT; CREATE INDEX CONCURRENTLY i ON t (c); BEGIN", []),
        ("UPDATE t SET c = 1", []),
        ("UPDATE alembic_version SET version_num = '2'; ALTER TABLE t ADD COLUMN c text", []),
        ("INSERT INTO kinds VALUES (1); ALTER TABLE t ADD COLUMN c text", []),
        ("ALTER TABLE t ADD COLUMN c float DEFAULT random()", ["adding-field-with-default"]),
        ("CREATE INDEX i ON t (c)", ["require-concurrent-index-creation"]),
        ("ALTER TABLE t ADD CONSTRAINT k CHECK (c > 0)", ["constraint-missing-not-valid"]),
        ("ALTER TABLE t DROP COLUMN c", ["takes-away"]),
        ("ALTER TABLE t RENAME COLUMN a TO b", ["takes-away"]),
        ("ALTER TABLE t RENAME TO u", ["takes-away"]),
        ("DROP TABLE t", ["takes-away"]),
        ("TRUNCATE t", ["takes-away"]),
        ("DROP TABLE t; CREATE TABLE t (id bigint)", ["takes-away"]),
        ("CREATE TABLE IF NOT EXISTS t (id bigint); ALTER TABLE t DROP COLUMN c", ["takes-away"]),
        ("ALTER TABLE audit.t DROP COLUMN a; CREATE TABLE new.t (id bigint)", ["takes-away"]),
        ("CREATE TABLE t (id bigint); ALTER TABLE t DROP COLUMN id", []),
        ("DELETE FROM t", ["takes-away"]),
        ("DELETE FROM t WHERE c = 1", []),
        ("ALTER TABLE t SET SCHEMA other", ["ban-set-schema", "takes-away"]),
        ("DROP OWNED BY ann", ["takes-away"]),
        ("ALTER TYPE mood RENAME VALUE 'a' TO 'b'", ["renaming-object", "takes-away"]),
        ("ALTER TABLE t ADD COLUMN c int; UPDATE t SET c = 1", ["backfill-with-ddl"]),
        ("ALTER TABLE t ADD COLUMN c int; INSERT INTO t SELECT * FROM u", ["backfill-with-ddl"]),
        ("DO $$ BEGIN END $$", ["do-block"]),
    ],
)
def test_what_a_revision_breaks(sql: str, broken: list[str]) -> None:
    assert rules(sql) == broken


def test_a_contract_may_take_away_and_a_new_table_may_lose() -> None:
    assert rules("ALTER TABLE t DROP COLUMN c", contract=True) == []
    assert rules("ALTER TABLE t DROP COLUMN c", fresh=("t",)) == []
    assert "changing-column-type" in rules("ALTER TABLE t ALTER COLUMN c TYPE text", contract=True), "it still locks"


def test_sql_that_nobody_understands_is_no_pass() -> None:
    with pytest.raises(OpsError, match="does not understand"):
        lint.findings("ALTER TABEL t", set(), contract=False)


def test_a_squawk_that_does_not_run_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "SQUAWK", Path("/bin/false"))
    with pytest.raises(OpsError, match="squawk did not look"):
        lint.findings("SELECT 1", set(), contract=False)


@pytest.mark.parametrize(
    ("text", "valid", "wrong"),
    [
        (LINE.format(rule="do-block", until="2026-11-30"), ["do-block"], 0),
        (LINE.format(rule="do-block", until="2026-11-29"), [], 1),
        (LINE.format(rule="do-block", until="soon"), [], 1),
        ("# migrate: allow do-block owner=ann until=2027-01-01\n", [], 1),
        ("# migrate: allow do-block until=2027-01-01 reason=x\n", [], 1),
        ("# migrate: allow do-block owner=ann until=2027-01-01 reason=\n", [], 1),
        ("# we migrate: now\n", [], 0),
    ],
    ids=["good", "expired", "no date", "no reason", "no owner", "empty reason", "no override"],
)
def test_an_override_has_owner_reason_and_a_date_that_has_not_passed(text: str, valid: list[str], wrong: int) -> None:
    found, mistakes = overrides(text, TODAY)
    assert ([*found], len(mistakes)) == (valid, wrong)


def test_an_override_is_for_one_rule_and_an_expired_one_counts_as_none() -> None:
    sql = "ALTER TABLE t ADD COLUMN c float DEFAULT random(); CREATE INDEX i ON t (c)"
    one = Rendered(HISTORY[1], sql, file=LINE.format(rule="adding-field-with-default", until="2026-12-31"))
    checks = gate.check_revision(one, set(), [], TODAY)
    assert [(check.result, "ann" in check.evidence) for check in checks] == [("PASS", True), ("FAIL", False)]
    late = gate.check_revision(one, set(), [], date(2027, 1, 1))
    assert [check.result for check in late] == ["FAIL"] * 3


def test_an_override_that_is_not_needed_is_advice() -> None:
    one = Rendered(HISTORY[1], "SELECT 1", file=LINE.format(rule="do-block", until="2026-12-31"))
    assert [check.word for check in gate.check_revision(one, set(), [], TODAY)] == ["advice"]


def test_what_cannot_be_rendered_is_unknown_unless_a_reviewer_has_looked() -> None:
    one = Rendered(HISTORY[1], error="it asks the database")
    (check,) = gate.check_revision(one, set(), [], TODAY)
    assert (check.result, check.closes) == ("UNKNOWN", True)
    read = Rendered(HISTORY[1], error="x", file=LINE.format(rule="unreadable", until="2026-12-31"))
    assert [check.result for check in gate.check_revision(read, set(), [], TODAY)] == ["PASS"]


def test_a_contract_waits_for_releases_before_its_parent() -> None:
    one = Rendered(HISTORY[0])
    assert gate.needing(HISTORY, one, {"a": "2", "b": "3", "c": None}) == ["a", "c"]
    assert gate.needing(HISTORY, Rendered(HISTORY[1]), {"a": "1"}) == []


def test_two_heads_close_the_gate() -> None:
    two = (*HISTORY, Revision("5", "2", False, False, True))
    with pytest.raises(GateClosed, match="FAIL one head: 4, 5"):
        gate.require([gate.one_head(two)], "here")


def test_pending_revisions_are_those_after_the_current_one_oldest_first() -> None:
    assert [one.id for one in alembic.pending(HISTORY)] == ["3", "4"]
    merged = (Revision("m", "", False, False, True, ("2", "x")), Revision("x", "1", False, False), *HISTORY[2:])
    assert [one.id for one in alembic.pending(merged)] == ["x", "m"]


def test_each_part_of_what_the_image_printed_is_read() -> None:
    printed = 'noise\nM["3", "SELECT 1;", "", "# a file"]\nM["4", "", "exit code 1: no", ""]\n'
    three, four = alembic.rendered(printed, HISTORY[1::-1], "M")
    assert (three.sql, three.error, three.file) == ("SELECT 1;", "", "# a file")
    assert (four.sql, four.error) == ("", "exit code 1: no")
    assert alembic.rendered("", HISTORY[:1], "M")[0].error, "an image that prints nothing is no pass"


def test_an_image_needs_no_shell_to_render(tmp_path: Path) -> None:
    """BookReader's has none."""
    tool = tmp_path / "alembic"
    tool.write_text(f"#!{sys.executable}\nimport sys\nprint('SQL of', *sys.argv[1:])\nsys.exit('3:4' in sys.argv)\n")
    tool.chmod(0o755)
    file = tmp_path / "3.py"
    file.write_text("# the file")
    three = replace(HISTORY[1], path=str(file))
    python, *words = alembic.render_command((str(tool), "upgrade", "head"), [three, HISTORY[0]], "M")
    printed = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=True).stdout
    read = alembic.rendered(printed, [three, HISTORY[0]], "M")
    assert (python, read[0].sql, read[0].error, read[0].file) == (
        "python",
        "SQL of upgrade 2:3 --sql\n",
        "",
        "# the file",
    )
    assert read[1].error.startswith("exit code 1")
