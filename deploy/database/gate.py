"""The gate that pending revisions pass before they are applied: PASS, FAIL or UNKNOWN for each check."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from secrets import token_hex

from deploy.core.errors import CommandFailed, GateClosed, OpsError
from deploy.core.model import Revision
from deploy.database import alembic
from deploy.database.alembic import Rendered
from deploy.database.lint import Finding, findings
from deploy.database.overrides import EXAMPLE, Override, overrides, unused
from deploy.database.postgres import Database
from deploy.site.checks import Check, Result
from deploy.site.run import Run
from deploy.state.store import State

FIX = "fix the revision, then inv migrate.lint"
UNREADABLE, KEPT = "unreadable", "contract-needed"  # rules beside those of the lint, which overrides name, too


@dataclass(frozen=True)
class Image:
    """The migrating service of a release whose image is asked: its colour, its name, and its migrate command."""

    run: Run
    colour: str
    service: str
    migrate: tuple[str, ...]

    def history(self) -> tuple[Revision, ...]:
        """Ask Alembic for its revisions, newest first, and which of them the database is at; raise GateClosed."""
        try:
            asked = alembic.history_command(self.migrate) or ()
            return alembic.history(self.run.one_off(self.colour, self.service, asked))
        except CommandFailed as error:
            release = self.run.release.id
            words = f"Alembic of release {release} does not say which revisions the database lacks: {error.output}"
            raise GateClosed(words, where=self.service, then="inv logs of the database; inv migrate.status") from None

    def rendered(self, revisions: Collection[Revision]) -> tuple[Rendered, ...]:
        """Render the SQL of each revision by itself, and read its file."""
        mark = token_hex(8)
        asked = alembic.render_command(self.migrate, revisions, mark)
        try:
            return alembic.rendered(self.run.one_off(self.colour, self.service, asked), revisions, mark)
        except CommandFailed as error:
            return tuple(Rendered(one, error=error.output) for one in revisions)


def checks(
    image: Image, revisions: tuple[Revision, ...], kept: Mapping[str, str | None], database: Database | None
) -> list[Check]:  # fmt: skip
    """Check what a migration would do now; nothing where no revision is pending.

    `kept` are the releases that a rollback may go to, with the revision of their schema.
    """
    pending = alembic.pending(revisions)
    if not pending:
        return []
    checked, fresh, today = [one_head(revisions)], set[str](), datetime.now(UTC).date()
    for one in image.rendered(pending):
        checked += [
            masked(check, image.run) for check in check_revision(one, fresh, needing(revisions, one, kept), today)
        ]
    limit = image.run.settings.migrate.oldest_transaction
    return [*checked, *([masked(no_old_transaction(database, limit), image.run)] if limit else [])]


def masked(check: Check, run: Run) -> Check:
    """Hide the release's secrets in what was found."""
    return Check(check.asked, check.result, run.masked(check.evidence), check.then, check.advice)


def targets(state: State, but: str) -> dict[str, str | None]:
    """Return the releases that a rollback may go to, `but` one, each with the revision of its schema."""
    kept = {*state.kept()} - {but}
    return {release: state.schema_of(release) for release in state.served() if release in kept}


def one_head(revisions: Iterable[Revision]) -> Check:
    """Check that the image's revisions end in one."""
    heads = alembic.heads(revisions)
    then = "" if len(heads) == 1 else "alembic merge heads in the backend, then the same again"
    return Check("one head", "PASS" if len(heads) == 1 else "FAIL", ", ".join(heads), then)


def needing(revisions: tuple[Revision, ...], one: Rendered, kept: Mapping[str, str | None]) -> list[str]:
    """Name the releases that a rollback may go to whose code is older than what comes before a contract."""
    if not one.revision.contract:
        return []
    before = {one.revision.parent, *one.revision.merges}
    old = alembic.ancestors(revisions, before) - before
    return [release for release, revision in kept.items() if revision is None or revision in old]


def check_revision(one: Rendered, fresh: set[str], needed: list[str], today: date) -> list[Check]:
    """Check one revision: what it does, what it takes away, and what a reviewer has allowed."""
    allowed, wrong = overrides(one.file, today)
    asked, result = f"revision {one.revision.id}", "FAIL"
    try:
        if one.error or one.revision.merges:
            raise OpsError(one.error or "a merge cannot be rendered by itself", slug="revision-unreadable")
        broken = findings(one.sql, fresh, contract=one.revision.contract)
    except OpsError as error:
        broken, result = [Finding(UNREADABLE, f"its SQL cannot be looked at: {error.what}")], "UNKNOWN"
    if needed:
        words = "a rollback may go to releases whose code needs what it takes away"
        broken = [*broken, Finding(KEPT, f"{words}: {', '.join(needed)}")]
    checked = [judged(asked, finding, allowed, result) for finding in broken]
    checked += [Check(f"{asked}, override", "FAIL", words, EXAMPLE) for words in wrong]
    checked += [
        Check(f"{asked}, override", "FAIL", f"{rule} is allowed and not broken", "remove that line", advice=True)
        for rule in unused(allowed, (finding.rule for finding in broken))
    ]
    return checked or [Check(asked, "PASS", "contract" if one.revision.contract else "")]


def judged(asked: str, finding: Finding, allowed: Mapping[str, Override], result: str) -> Check:
    """Judge a rule that is broken: a reviewed override lets it pass."""
    if finding.rule in allowed:
        return Check(asked, "PASS", f"{finding.words} ({allowed[finding.rule]})")
    unknown: Result = "UNKNOWN" if finding.rule == UNREADABLE and result == "UNKNOWN" else "FAIL"
    return Check(asked, unknown, str(finding), f"{FIX}; or, once reviewed, `{EXAMPLE}` in its file")


def no_old_transaction(database: Database | None, limit: float) -> Check:
    """Check that no transaction is so old that a migration would wait behind it, and everybody behind the migration."""
    asked, off = f"no transaction older than {limit:g} s", "migrate.oldest_transaction = 0 does not look"
    if database is None:
        return Check(asked, "UNKNOWN", "no container of the environment has PostgreSQL's client", off)
    try:
        old = database.old_transactions(limit)
    except CommandFailed as error:
        return Check(asked, "UNKNOWN", f"{database.container}: {error.output}", off)
    end = (
        database.host.command_line(f"docker exec {database.container} psql") + ", SELECT pg_terminate_backend(PROCESS)"
    )
    return Check(asked, "FAIL" if old else "PASS", "; ".join(old), f"wait for it, or end it: {end}" if old else "")


def require(checked: Iterable[Check], where: str) -> None:
    """Raise GateClosed, with all that closes the gate."""
    closing = [check for check in checked if check.closes]
    if closing:
        lines = [f"{check.result} {check.asked}: {check.evidence}" for check in closing]
        words = "\n    ".join(["the migration was refused before it began:", *lines])
        then = "; ".join(dict.fromkeys(check.then for check in closing if check.then))
        raise GateClosed(words, where=where, then=then, slug="migration-unsafe")
