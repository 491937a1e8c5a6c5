"""A site that has been deployed for years."""

from __future__ import annotations

import json
import time

from tests.nights.night import Night

RELEASES, LINES = 500, 15_000


def test_five_hundred_releases_and_a_journal_of_fifteen_thousand_lines(night: Night) -> None:
    """500 releases in the ledger, 15,000 lines in the journal."""
    ledger, journal = night.site.state / "ledger.jsonl", night.site.state / "journal.jsonl"
    last, lines = json.loads(ledger.read_text()), journal.read_text().splitlines()
    older = [
        {
            **last,
            "release": f"{number:012x}-abcdef",
            "started": f"2026-01-01T{number // 60 % 24:02}:{number % 60:02}:00Z",
        }
        for number in range(RELEASES - 1)
    ]
    ledger.write_text("".join(json.dumps(entry) + "\n" for entry in (*older, last)))
    journal.write_text("".join(line + "\n" for _ in range(LINES // len(lines) + 1) for line in lines))
    assert len(journal.read_text().splitlines()) >= LINES
    took = {}
    for words in (("status",), ("history", f"--limit={RELEASES}", "--json"), ("plan",), ("deploy",), ("resume",)):
        began = time.monotonic()
        output = night.site.inv(*words)
        took[words[0]] = time.monotonic() - began
        if words[0] == "history":
            assert len(output.document) == RELEASES
        if words[0] == "deploy":
            assert "nothing to do" in output.stderr
    night.tell(", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    assert max(took.values()) < 10, took  # 5 s are promised; the tests may share a busy machine
    night.change()
    began = time.monotonic()
    night.morning()
    assert time.monotonic() - began < 60
