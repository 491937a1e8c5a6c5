"""Run a migration so that it harms nobody meanwhile: time-outs, few retries, the blocker named."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Event, Thread

from deploy.config import secrets
from deploy.config.sections import Migrate
from deploy.core import console, yaml
from deploy.core.errors import CommandFailed, OpsError
from deploy.database.postgres import blocking, database_of
from deploy.site.run import Run

# https://www.postgresql.org/docs/current/errcodes-appendix.html: 55P03 is lock_not_available; drivers print its name
LOCK = re.compile(r"\b55P03\b|LockNotAvailable|canceling statement due to lock timeout")
TRIES, PAUSE, LOOK = 5, 1.0, 0.7  # seconds before the next try, longer each time; and between two looks
APPLICATION = "inv-migrate"


def attempt(run: Run, colour: str, service: str, command: tuple[str, ...], *, pending: bool = True) -> None:
    """Run a migration in a container of its own, again while it does not get a lock in time: five times at most.

    Nobody looks what it waits for where nothing is `pending`. Raises OpsError that names what is in the way, and any
    other failure at once.
    """
    environment = options(run, colour, service)
    for left in reversed(range(TRIES)):
        with watched(run, pending=pending) as blockers:
            try:
                run.one_off(colour, service, command, environment)
            except CommandFailed as error:
                if not LOCK.search(error.whole):  # SQLAlchemy prints the statement, however long, after the error
                    raise
                failed = error
            else:
                return
        if left:
            pause = PAUSE * (TRIES - left)
            console.say(f"a lock was not free within {run.settings.migrate.lock_timeout:g} s; once more in {pause:g} s")
            time.sleep(pause)
    raise blocked(run, service, failed, blockers)


def options(run: Run, colour: str, service: str) -> dict[str, str]:
    """Return what libpq reads: time-outs, behind which stand the app's own options, and a name for the session."""
    limits: Migrate = run.settings.migrate
    ours = {"lock_timeout": limits.lock_timeout, "statement_timeout": limits.statement_timeout}
    words = [f"-c {key}={round(seconds * 1000)}" for key, seconds in ours.items()]
    mentioned = "PGOPTIONS" in run.bundle.files[f"{colour}.yml"] + run.bundle.env
    theirs = environment_of(run, colour, service).get("PGOPTIONS", "") if mentioned else ""
    return {"PGOPTIONS": " ".join(filter(None, [*words, theirs])), "PGAPPNAME": APPLICATION}


def environment_of(run: Run, colour: str, service: str) -> Mapping[str, str]:
    """Return what a service has in its environment: the release's secrets, and what its compose file says."""
    spec = yaml.load_rendered(run.bundle.files[f"{colour}.yml"])["services"].get(f"{service}-{colour}") or {}
    own = spec.get("environment") or {}
    pairs = own if isinstance(own, Mapping) else dict(str(one).partition("=")[::2] for one in own)
    return {**(secrets.rendered(run.bundle.env) if spec.get("env_file") else {}), **pairs}


@contextmanager
def watched(run: Run, *, pending: bool) -> Iterator[list[str]]:
    """Look what a migration waits for while it runs; say it, and yield the list that it is added to."""
    blockers, ended = list[str](), Event()

    def look() -> None:
        if not pending or ended.wait(LOOK):
            return
        with suppress(OpsError, OSError):  # whoever cannot look has nothing to say; the migration goes on
            if not (database := database_of([fresh(run)])):
                return
            while not ended.wait(LOOK):
                words = run.masked(blocking(database, APPLICATION))
                if words and words not in blockers:
                    blockers.append(words)
                    console.say(f"the migration waits for {words}")

    looking = Thread(target=look, daemon=True)
    looking.start()
    try:
        yield blockers
    finally:
        ended.set()
        looking.join()


def drop_invalid_indexes(run: Run) -> None:
    """Drop the indexes that an earlier migration left half built: the next one could not make them again.

    Whatever is in the way, the migration goes on without that.
    """
    try:
        if not (database := database_of([fresh(run)])):
            return
        for name in database.invalid_indexes():
            database.drop_index(name)
            console.say(f"index {name} was invalid, left by a build that failed: it was dropped")
    except (OpsError, OSError) as error:
        console.warn(f"an invalid index could not be dropped: {run.masked(str(error))}")


def fresh(run: Run) -> Run:
    """Return the run with the containers that are there now: data may have been started since."""
    there = run.host.engine.containers(run.settings.name)
    return replace(run, facts=replace(run.facts, containers=there))


def blocked(run: Run, service: str, failed: CommandFailed, blockers: list[str]) -> OpsError:
    """Say that a migration never got its lock, and who had it."""
    way = blockers[-1] if blockers else "nothing that could be seen"
    words = f"the migration got no lock in {TRIES} tries; in its way: {way}\n    {failed.output}"
    then = "wait for that session or end it, SELECT pg_terminate_backend(PROCESS) in the database; then inv deploy"
    return OpsError(words, where=f"{run.host.name}: {service}", then=then, slug="migration-blocked")
