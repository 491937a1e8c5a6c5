"""What triage takes for the likeliest cause, by what it saw; and how errors are grouped."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.core.facts import EdgeFacts
from deploy.incidents import log_errors
from deploy.incidents.cause import causes
from deploy.incidents.gates import Gate
from deploy.incidents.log_errors import Group, Requests
from deploy.incidents.sight import Sight
from deploy.insight.compare import View, compare
from deploy.state.journal import Intention
from tests.support.samples import log_line, release, serving
from tests.unit.test_metrics import entry

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WELL = View(serving("r2", "blue"), release("r2", without=("site",)), {"backend": 200}, 200)
GIGABYTE = 1_000_000_000
LONG_AGO = (entry("r1", timedelta(days=9)), entry("r2", timedelta(days=2)))
SIGHT = Sight("app1", WELL, errors=(), disk={"/var/lib/shop": 9 * GIGABYTE}, memory=4 * GIGABYTE, deploys=LONG_AGO)
ERRORS = Requests(100, 40, "/api/books")
LOGGED = Group("backend", 40, "OperationalError: connection refused")


def changed(service: str, **fields: Any) -> View:
    """A view in which one service's container differs, or is gone."""
    own = WELL.facts.containers
    left = tuple(replace(c, **fields) if c.service == service else c for c in own if fields or c.service != service)
    edge = replace(WELL.facts.edge, running=any(c.service == "edge" and c.state == "running" for c in left))
    return replace(WELL, facts=replace(WELL.facts, containers=left, edge=edge))


ENDED = {"state": "exited", "health": "", "exit_code": 137}
FRESH = (*LONG_AGO[:1], entry("r2", timedelta(minutes=11)))
BROKEN = replace(WELL, answers={"backend": 502}, public=502)
HOLDER = "process 7 of app waits 40 s for process 12 of app, a transaction of 90 s, idle in transaction: UPDATE books"


NO_REDIS, NO_BACKEND = changed("redis", **ENDED), changed("backend", **ENDED)
LOOP = changed("worker", state="restarting", health="", restarts=9, out_of_memory=True)
LOOPING = changed("backend", state="restarting", health="", restarts=9)
HUNG = {"view": None, "unknown": {"services": "no answer"}, "edge": EdgeFacts(True, 3, "blue", "r2")}
TOO_FRESH = "release r2 came into service 10 min ago"
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "disk full, and redis died of it": (
        {"disk": {"/var/lib/shop": 90_000_000}, "view": NO_REDIS},
        "the disk of app1 is full",
        "inv disk",
    ),
    "no edge": ({"view": changed("edge")}, "app1: edge has no container: visitors get nothing", "inv deploy --to=r2"),
    "no redis": ({"view": NO_REDIS}, "app1: redis has stopped (exited, exit code 137)", "inv deploy --to=r2"),
    "no redis, and a fresh deploy": (
        {"view": replace(NO_REDIS, answers={"backend": 503}), "deploys": FRESH},
        "app1: redis has",
        "inv deploy --to=r2",
    ),
    "502 since a deploy": ({"view": BROKEN, "deploys": FRESH}, TOO_FRESH, "inv rollback"),
    "5xx since a deploy": ({"requests": ERRORS, "deploys": FRESH}, TOO_FRESH, "inv rollback"),
    "502 since the first deploy": ({"view": BROKEN, "deploys": FRESH[1:]}, TOO_FRESH, "inv logs --since=15m"),
    "502": (
        {"view": BROKEN, "errors": (LOGGED,)},
        "app1: backend answers 502 through its edge; logged most: backend, 40",
        "inv logs backend --since=15m",
    ),
    "5xx": (
        {"requests": ERRORS, "errors": (LOGGED,)},
        "app1: 40 of 100 requests got a 5xx, most for /api/books",
        "inv logs backend --since=15m",
    ),
    "the web service ended": (
        {"view": NO_BACKEND, "last_words": {"backend": "no such file"}},
        "app1: backend has stopped (exited, exit code 137); its last words: no such file",
        "inv deploy --to=r2",
    ),
    "the web service ended after a fresh deploy": (
        {"view": replace(NO_BACKEND, answers={"backend": 502}), "deploys": FRESH},
        "app1: backend",
        "inv deploy --to=r2",
    ),
    "the web service starts over and over since a deploy": (
        {"view": replace(LOOPING, answers={"backend": 502}), "deploys": FRESH},
        TOO_FRESH,
        "inv rollback",
    ),
    "no worker": ({"view": changed("worker", **ENDED)}, "app1: worker has stopped", "inv deploy --to=r2"),
    "killed for memory": (
        {"view": LOOP},
        "app1: a process in worker was killed at its memory limit",
        "inv logs worker --since=15m, and raise its mem_limit",
    ),
    "a lock in the database": ({"waiting": (HOLDER,)}, f"app1: {HOLDER}", "pg_terminate_backend(12)"),
    "queue": ({"queue": {"worker": 900}}, "app1: 900 tasks wait for worker", "inv scale worker=2"),
    "memory": ({"memory": 20_000_000}, "app1 has 20 MB of memory left", "inv status"),
    "cut off": ({"interrupted": (Intention("deploy", "r3", "2026"),)}, "app1: deploy of r3 was", "inv resume"),
    "somebody is at work": (
        {"holders": ("locked by ann: deploy",), "view": changed("worker")},
        "app1: somebody is at work",
        "inv unlock",
    ),
    "a hung engine": (
        HUNG,
        "the containers of app1 cannot be seen: no answer; its edge answers for release r2",
        "inv doctor",
    ),
}


@pytest.mark.parametrize(("sight", "cause", "then"), CASES.values(), ids=CASES)
def test_the_likeliest_cause_and_its_command(sight: dict[str, Any], cause: str, then: str) -> None:
    own = replace(SIGHT, **sight)
    found = causes([own], compare({"app1": own.view} if own.view else {}), None, NOW)
    assert found[0].what.startswith(cause), found
    assert then in found[0].then


def test_nothing_is_a_cause_where_everything_is_well() -> None:
    assert causes([SIGHT], compare({"app1": WELL}), Gate("certificates valid", "UNKNOWN", "TLS is off"), NOW) == ()


def test_a_certificate_that_visitors_refuse_comes_before_what_the_app_logs() -> None:
    gate = Gate("certificates valid", "FAIL", "books.test: certificate has expired", then="inv status")
    own = replace(SIGHT, requests=ERRORS)
    assert causes([own], compare({"app1": WELL}), gate, NOW)[0].what.startswith("the certificate: books.test")


def test_few_requests_that_fail_are_no_cause() -> None:
    own = replace(SIGHT, requests=Requests(10, 5))
    assert causes([own], compare({"app1": WELL}), None, NOW) == ()


LOG = """2026-11-30T10:00:00Z INFO ready
2026-11-30T10:00:01Z ERROR book 12 failed: id 5f3e2a1b9c
Traceback (most recent call last):
  File "a.py", line 3, in parse
ValueError: no chapter in 7
2026-11-30 10:00:03,120 ERROR book 99 failed: id 77aa2a1b9c
"""


def test_the_same_error_with_other_numbers_is_one_and_a_traceback_is_its_last_line() -> None:
    found = log_errors.grouped({"worker": LOG, "edge": log_line(status=500, path="/error")})
    assert [str(group) for group in found] == [
        "worker, 2 time(s): ERROR book 99 failed: id 77aa2a1b9c",
        "worker, 1 time(s): ValueError: no chapter in 7",
    ]


def test_requests_are_counted_and_the_worst_path_is_named() -> None:
    lines = [
        log_line(),
        log_line(status=502, path="/a"),
        log_line(status=500, path="/b"),
        log_line(status=500, path="/b"),
        "?",
    ]
    assert str(log_errors.requests(lines)) == "3 of 4 requests got a 5xx, most for /b"
