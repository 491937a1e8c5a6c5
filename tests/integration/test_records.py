"""Records are auxiliary: with ledger and bundles damaged a real site is shown, put behind its page, and taken back."""

from __future__ import annotations

import json
from threading import Event, Thread

from tests.support.site import Site, docker


def test_a_site_whose_records_are_damaged_is_shown_and_goes_back(tiny: Site) -> None:
    """Half of each release.json is gone, and a line of the ledger is zeros.

    Visitors notice nothing, and the way back is open.
    """
    first = tiny.inv("deploy", "--json").document
    tiny.replace("app/app.py", "says hello", "says good day")
    tiny.commit()
    second = tiny.inv("deploy", "--json").document
    ledger = tiny.state / "ledger.jsonl"
    before = ledger.read_bytes() + b"\0" * 200 + b"\n"
    ledger.write_bytes(before)
    for release in (first["release"], second["release"]):
        record = tiny.state / "releases" / release / "release.json"
        record.write_text(record.read_text()[:300])

    shown = tiny.inv("status", "--json")
    assert (shown.document["release"], shown.document["hosts"][0]["edge"]["answers"]) == (second["release"], True)
    assert shown.stderr.count("ledger.jsonl: line 3 cannot be read, and passed over") == 1
    assert [entry["release"] for entry in tiny.inv("history", "--json").document] == [
        second["release"],
        first["release"],
    ]
    tiny.inv("logs", "app")
    tiny.inv("maintenance", "--on")
    assert tiny.get("/version")[0] == 503
    tiny.inv("maintenance", "--off")
    assert json.loads(tiny.get("/version")[1]) == {"release": second["release"]}

    stopped = {name for name in tiny.containers() if f"-{first['colour']}-" in name}
    made = {name: docker("inspect", "--format", "{{.Created}} {{.Image}}", name) for name in stopped}
    over, answers = Event(), list[int]()

    def visit() -> None:
        while not over.wait(0.02):  # without a pause it takes a core from what it looks at
            answers.append(tiny.get("/version")[0])

    visitor = Thread(target=visit)
    visitor.start()
    back = tiny.inv("rollback", "--json")
    over.set()
    visitor.join()
    assert (back.document["release"], back.document["colour"]) == (first["release"], first["colour"])
    assert "is put together from its containers, which are started as they are" in back.stderr
    assert json.loads(tiny.get("/version")[1]) == {"release": first["release"]}
    assert {name: docker("inspect", "--format", "{{.Created}} {{.Image}}", name) for name in stopped} == made
    assert answers
    assert set(answers) == {200}
    assert ledger.read_bytes().startswith(before), "nothing is taken out of the ledger"
    assert (tiny.state / "ledger.jsonl.damaged").read_bytes() == b"\0" * 200 + b"\n"

    tiny.inv("deploy", "--json")
    assert json.loads(tiny.get("/version")[1]) == {"release": second["release"]}
    assert tiny.inv("plan", "--json").document["hosts"][0]["steps"] == []
