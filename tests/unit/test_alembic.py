"""What Alembic's history says of the code that fits."""

from __future__ import annotations

import pytest

from deploy.database.alembic import current, history, history_command, served_by

PRINTED = """INFO  [alembic.runtime.migration] Context impl PostgresqlImpl.
Rev: 0004 (head)
Parent: 0003
Path: /app/migrations/versions/0004.py

    add tags

Rev: 0003{at3}
Parent: 0002
Path: /app/migrations/versions/0003.py

    drop the old column

    contract

Rev: 0002{at2}
Parent: 0001
Path: /app/migrations/versions/0002.py

    this is no contract of ours

Rev: 0001
Parent: <base>
Path: /app/migrations/versions/0001.py

    books
"""
HISTORY = history(PRINTED.format(at3=" (current)", at2=""))
MERGED = history(
    "Rev: m (head) (mergepoint) (current)\nMerges: a, b\n\nRev: a\nParent: 1\n\nRev: b\nParent: 1\n\nRev: 1\nParent: <base>\n"
)


def test_history_is_read_newest_first() -> None:
    assert [(r.id, r.parent, r.current, r.contract) for r in HISTORY] == [
        ("0004", "0003", False, False), ("0003", "0002", True, True), ("0002", "0001", False, False),
        ("0001", "<base>", False, False),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "fits"),
    [("0002", ("0002", "0001")), ("0003", ("0003",)), ("0004", ("0004", "0003")), ("9999", ())],
    ids=["expanded: earlier code fits", "contracted: it alone", "expanded after a contract", "unknown: nothing"],
)
def test_code_fits_down_to_the_last_contract(at: str, fits: tuple[str, ...]) -> None:
    assert served_by(HISTORY, at) == fits


def test_current_and_unknown() -> None:
    assert current(HISTORY) == "0003"
    assert current(history(PRINTED.format(at3="", at2=""))) is None
    assert current(history("")) is None


def test_a_merge_of_branches_claims_no_more_than_itself() -> None:
    assert current(MERGED) == "m"
    assert served_by(MERGED, "m") == ("m",)


def test_only_alembic_can_be_asked() -> None:
    asked = history_command(("python", "-m", "alembic", "-c", "x.ini", "upgrade", "head"))
    assert asked == ("python", "-m", "alembic", "-c", "x.ini", "history", "--verbose", "--indicate-current")
    assert history_command(("./migrate", "upgrade")) is None
    assert history_command(("alembic", "stamp", "head")) is None
