"""What a deploy leaves alone: shared services that drifted, and a colour that is kept warm."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from deploy.core.poll import wait_until
from tests.support.site import Site, docker

COMPOSE = "docker/compose.yml"
GOOD, TYPO = "import time; time.sleep(1e6)", "import tiem"
MADE_OF = '{{index .Config.Labels "bookreader-ops.made-of"}}'
DB = """
  db:
    image: {1}/app
    command: ["python3.11", "-c", "{0}"]
    restart: unless-stopped
    stop_grace_period: 1s
    x-deploy: {{role: data}}

  edge:
"""


@contextmanager
def asking(site: Site) -> Iterator[list[float]]:
    """Ask the site every few milliseconds; the list gets the longest time from one good answer to the next."""
    ended, longest = Event(), [0.0]

    def ask() -> None:
        last = time.monotonic()
        while not ended.wait(0.02):  # without a pause it takes a core from what it looks at
            if site.get("/health")[0] == 200:
                longest[0], last = max(longest[0], time.monotonic() - last), time.monotonic()
        longest[0] = max(longest[0], time.monotonic() - last)

    asker = Thread(target=ask)
    asker.start()
    try:
        yield longest
    finally:
        ended.set()
        asker.join()


def db(site: Site, words: str = "{{.State.Status}} {{.RestartCount}}") -> str:
    """Say how the data service is."""
    return docker("inspect", "--format", words, f"{site.app}-local-db-1").strip()


def is_looping(site: Site) -> bool:
    return int(db(site).split()[1]) > 0


def identity(site: Site, part: str) -> str:
    """The id of the container whose name has this part."""
    name = next(name for name in site.containers() if part in name)
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name)


def test_a_network_that_edge_and_app_share_changes_while_people_ask(tiny: Site) -> None:
    """What the running edge cannot reach is never switched to.

    A recreated edge reaches what serves from its first second.
    """
    tiny.replace(COMPOSE, "    x-deploy:", "    networks: [front]\n    x-deploy:")
    tiny.replace(COMPOSE, "volumes:\n  edge-temp", "networks:\n  front: {}\n\nvolumes:\n  edge-temp")
    tiny.commit()
    first = tiny.inv("deploy", "--json").document["release"]
    edge, journal = identity(tiny, "-edge-"), (tiny.state / "journal.jsonl").read_text()
    tiny.replace(COMPOSE, "[front]", "[street]")
    tiny.replace(COMPOSE, "  front: {}", "  street: {}")
    tiny.commit()
    plan = tiny.inv("plan")
    assert ("edge lacks network street" in plan.stderr, "next: inv deploy --include=edge" in plan.stderr) == (
        True,
        True,
    ), plan.stderr
    output = tiny.inv("deploy", code=2).stderr
    assert ("edge lacks network street" in output, "inv deploy --include=edge" in output, first in output) == (
        True,
        True,
        True,
    ), output
    assert (identity(tiny, "-edge-"), (tiny.state / "journal.jsonl").read_text()) == (edge, journal), (
        "nothing was changed"
    )
    with asking(tiny) as longest:
        output = tiny.inv("deploy", "--include=edge").stderr
    stated = re.search(r"outage: at most (\d+\.\d) s", output)
    assert stated, output
    assert longest[0] <= float(stated[1]) + 0.3, output
    assert "inv rollback --include=edge" in tiny.inv("rollback", code=2).stderr
    with asking(tiny) as longest:
        output = tiny.inv("rollback", "--include=edge").stderr
    stated = re.search(r"outage: at most (\d+\.\d) s", output)
    assert stated, output
    assert longest[0] <= float(stated[1]) + 0.3, output
    assert (tiny.get("/health")[0], first in tiny.get("/version")[1]) == (200, True)


def test_data_that_a_deploy_put_into_a_crash_loop_is_restored_when_it_goes_back(tiny: Site) -> None:
    tiny.replace(COMPOSE, "\n  edge:\n", DB.format(GOOD, tiny.app))
    tiny.commit()
    first = tiny.inv("deploy", "--json").document["release"]
    made_of = db(tiny, MADE_OF)
    tiny.replace(COMPOSE, GOOD, TYPO)
    tiny.commit()
    output = tiny.inv("deploy", "--include=db", code=1).stderr
    assert ("No module named 'tiem'" in output, f"release {first}" in output) == (True, True), output
    assert "then inv deploy --include=db" in output, output
    assert "outage: at most" not in output.partition("going back")[0], "what failed has no end"
    assert (db(tiny), db(tiny, MADE_OF)) == ("running 0", made_of)


@pytest.mark.night
def test_data_that_is_in_a_crash_loop_gets_out_of_it(tiny: Site) -> None:
    """By --include with the file that is right, and by going back to a release of which it ran.

    It ends later than a deploy looks.
    """
    tiny.replace(COMPOSE, "\n  edge:\n", DB.format("import time; time.sleep(5); import tiem", tiny.app))
    tiny.commit()
    tiny.inv("deploy")
    assert wait_until(lambda: is_looping(tiny), 20)
    tiny.replace(COMPOSE, "sleep(5); import tiem", "sleep(1e6)")
    tiny.commit()
    output = tiny.inv("deploy", code=2).stderr
    assert ("db is r" in output, "restarted" in output, "inv deploy --include=db" in output) == (True, True, True), (
        output
    )
    good = tiny.inv("deploy", "--include=db", "--json").document["release"]
    assert db(tiny) == "running 0"
    tiny.replace(COMPOSE, "sleep(1e6)", "sleep(6); import tiem")
    tiny.commit()
    tiny.inv("deploy", "--include=db")
    assert wait_until(lambda: is_looping(tiny), 20)
    assert tiny.inv("rollback", "--json").document["release"] == good
    assert db(tiny) == "running 0"


@pytest.mark.night
def test_a_warm_colour_runs_on_and_takes_over_as_it_is(tiny: Site) -> None:
    tiny.extra["OPS_ROLLOUT__KEEP_WARM"] = "true"
    tiny.inv("deploy")
    first = identity(tiny, "-blue-")
    tiny.replace("app/app.py", "Takes a burst", "Stands a burst")
    tiny.commit()
    tiny.inv("deploy")
    assert identity(tiny, "-blue-") == first
    assert tiny.inv("deploy", "--json").document["changed"] is False
    output = tiny.inv("rollback").stderr
    assert "start blue" not in output
    assert identity(tiny, "-blue-") == first
    assert (tiny.get("/health")[0], tiny.inv("status", "--json").document["colour"]) == (200, "blue")
    tiny.inv("deploy", OPS_ROLLOUT__KEEP_WARM="false")
    assert tiny.containers()[next(name for name in tiny.containers() if "-blue-" in name)] == "exited"
