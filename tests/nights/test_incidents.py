"""Causes that are injected into BookReader, one at a time: triage must name each of them, and its command must help.

`tests/integration/test_incidents.py` has a service that is down and a bad deploy on a small site.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deploy.core.poll import wait_until
from tests.integration.bad_input.test_machine import small_disk
from tests.support.site import ROOT, Site, docker, make_bookreader

SQL = 'export PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB; exec psql -q -c "$0"'
Inject = Callable[[Site], Callable[[], object]]


def container(site: Site, service: str) -> str:
    """Name a service's container that runs, or of all colours the first."""
    own = {name: state for name, state in site.containers().items() if f"-{service}-" in name}
    return min(own, key=lambda name: own[name] != "running")


def triage(site: Site, engine: str = "") -> Any:
    """Ask triage, of another engine where one is named; it takes less than ten seconds."""
    seen = site.inv("incident.triage", "--json", **({"DOCKER_HOST": engine} if engine else {})).document  # type: ignore[arg-type]  # no code
    assert seen["seconds"] < 10
    return seen


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader in service."""
    site = make_bookreader(tmp_path_factory.mktemp("bookreader"))
    try:
        site.inv("deploy")
        yield site
    finally:
        site.sweep()


def well(site: Site) -> None:
    """Bring everything back by the commands that status names; what has just started may need a while."""

    def is_well() -> bool:
        then = site.inv("status", "--json", code=None).document["next"]
        if then and then.startswith("inv deploy"):
            site.inv(*then.removeprefix("inv ").split())
        return then is None

    assert wait_until(is_well, 90, pause=1)


def stopped(service: str) -> Inject:
    def act(site: Site) -> Callable[[], object]:
        docker("kill", container(site, service))
        return lambda: well(site)

    return act


def removed(service: str) -> Inject:
    def act(site: Site) -> Callable[[], object]:
        docker("rm", "--force", container(site, service))
        return lambda: well(site)

    return act


def paused(service: str) -> Inject:
    def act(site: Site) -> Callable[[], object]:
        name = container(site, service)
        docker("pause", name)
        return lambda: docker("unpause", name)

    return act


def locked(site: Site) -> Callable[[], object]:
    """One session holds a table, another waits for it."""
    words = ["docker", "exec", container(site, "postgres"), "sh", "-c", SQL]
    held = "SELECT 1 FROM pg_locks WHERE relation = 'books'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    waits = "SELECT 1 FROM pg_locks WHERE relation = 'books'::regclass AND NOT granted"
    long = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query_start < now() - interval '5 s'"

    def asked(sql: str) -> bool:
        return "1" in subprocess.run([*words, sql], capture_output=True, text=True).stdout

    def start(sql: str) -> None:
        process = subprocess.Popen([*words, sql], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        ends.callback(process.wait)
        ends.callback(process.kill)

    with ExitStack() as ends:
        start("BEGIN; LOCK TABLE books; SELECT pg_sleep(120)")
        assert wait_until(lambda: asked(held), 30, pause=0.5)
        start("SELECT count(*) FROM books")
        assert wait_until(lambda: asked(waits) and asked(long), 30, pause=0.5)
        return ends.pop_all().close


def interrupted(site: Site) -> Callable[[], object]:
    """Somebody's machine died in the middle of a deploy."""
    with (site.root / "backend/bookreader/paths.py").open("a") as file:
        file.write("# another release\n")
    site.commit()
    site.killed(4, "begin", "deploy")
    return lambda: site.inv("abort")


CAUSES: dict[str, tuple[Inject, str, str]] = {
    "the edge is killed": (stopped("edge"), "edge has stopped (exited, exit code 137)", "inv deploy --to="),
    "the database is killed": (stopped("postgres"), "postgres has stopped", "inv deploy --to="),
    "the database hangs": (paused("postgres"), "postgres is paused", "inv logs postgres"),
    "the queue's Redis is removed": (removed("redis"), "redis has no container", "inv deploy --to="),
    "the web service is killed": (stopped("backend"), "backend has stopped", "inv deploy --to="),
    "the worker is removed": (removed("worker"), "worker has no container", "inv deploy --to="),
    "the scheduler is killed": (stopped("beat"), "beat has stopped", "inv deploy --to="),
    "the worker hangs": (paused("worker"), "worker is paused", "inv logs worker"),
    "a table is locked": (locked, "for process", "pg_terminate_backend("),
    "a deploy was cut off": (interrupted, "was interrupted", "inv resume"),
}


@pytest.mark.parametrize(("inject", "words", "then"), CAUSES.values(), ids=CAUSES)
def test_an_injected_cause_is_named(library: Site, inject: Inject, words: str, then: str) -> None:
    """Killed, removed, hung and locked services, and a deploy that was cut off."""
    undo = inject(library)
    try:
        seen = triage(library)
    finally:
        undo()
    assert words in seen["causes"][0]["what"], seen
    assert seen["next"].startswith(then) or then in seen["next"], seen
    well(library)


def test_an_engine_that_never_answers(library: Site, tmp_path: Path) -> None:
    """The engine's socket takes connections and says nothing."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "docker.sock"))
        silent.listen(50)
        seen = triage(library, f"unix://{tmp_path / 'docker.sock'}")
    assert "cannot be seen: no answer within" in seen["causes"][0]["what"]
    assert "its edge answers for release" in seen["causes"][0]["what"]


def test_a_full_disk(library: Site, tmp_path: Path) -> None:
    """The state lies on a disk on which nothing is left."""
    argv = [*small_disk(library, tmp_path), sys.executable, "-m", "invoke", "incident.triage", "--json"]
    ran = subprocess.run(argv, cwd=ROOT, env={**library.environment, "FILL": "1"}, capture_output=True, text=True)
    seen = json.loads(ran.stdout)
    assert (seen["causes"][0]["what"].startswith("the disk of localhost is full: 0 MB"), seen["next"]) == (
        True,
        "inv disk",
    )
