"""The gate in front of a deploy's migration, and `inv migrate`: the migration of a deploy without its release."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Refused, Unreachable
from deploy.core.model import Revision, other
from deploy.database import alembic, gate
from deploy.database.gate import Image
from deploy.database.postgres import database_of
from deploy.rollout import preflight, recovery_point
from deploy.rollout.execute import apply_plans
from deploy.rollout.plan import Plan
from deploy.rollout.releases import assemble, fleet_of, keep
from deploy.rollout.scanned import require_scanned
from deploy.rollout.steps import AwaitOrphans, Migrate, RecordMigrations
from deploy.rollout.steps.database import list_migrations
from deploy.site.checks import Check
from deploy.site.facts import observe_all
from deploy.site.interrupted import Handler, require_no_other
from deploy.site.locked import locked
from deploy.site.run import Fleet, Run
from deploy.state.store import state_of

COMMAND = "migrate"


@dataclass(frozen=True)
class Status:
    """What the database is at, what it lacks of a release, oldest first, and where the release's revisions end."""

    release: str
    revision: str | None
    pending: tuple[str, ...]
    heads: tuple[str, ...]


def require_safe(fleet: Fleet, plans: Mapping[str, Plan]) -> Fleet:
    """Let the pending revisions of a plan pass the gate, then see to a backup; return the fleet with what was seen.

    Raises GateClosed, before anything is changed. Where data does not run yet Migrate looks once it does, and the
    backup is taken then.
    """
    serving = tuple(run for run in fleet.runs if run.facts.edge.release)
    runs = [run if run.facts.edge.release else replace(run, peers=serving) for run in fleet.runs]
    looked = replace(fleet, runs=tuple(seen(run, plans[run.host.name], fleet.runs) for run in runs))
    migrating = [run for run in looked.runs if may_be_pending(run, plans[run.host.name])]
    looked = replace(looked, migrates=bool(migrating) or not serving)
    if any(not askable(run) for run in migrating):
        return replace(looked, backup_due=True)
    if migrating:
        recovery_point.require(fleet.at)
    return looked


def may_be_pending(run: Run, plan: Plan) -> bool:
    """Tell whether a plan migrates data that is there, and migrations are pending, or nobody could look."""
    step = next((step for step in plan.steps if isinstance(step, Migrate | RecordMigrations)), None)
    serves = run.judged_by.facts.edge.release
    if step is None or not serves:
        return False
    if not askable(run):
        return run.target != serves  # what served has migrated already: `inv down`, then `inv deploy`
    if isinstance(step, Migrate) and alembic.history_command(step.command):
        return run.revisions is None or bool(alembic.pending(run.revisions))
    return brings_migrations(run, step.colour)


def brings_migrations(run: Run, colour: str) -> bool:
    """Tell whether a release's code lists migrations that the database has not got, or lists none."""
    listing, schema = run.release.listing, run.judged_by.state.schema()
    if listing is None or schema is None:
        return True
    listed = list_migrations(run, colour, listing.name, listing.deploy.migrations)
    return not listed.keys() <= {migration.name for migration in schema.migrations}


def seen(run: Run, plan: Plan, runs: tuple[Run, ...]) -> Run:
    """Return the run with what was seen of the revisions, where its plan migrates: one of all hosts does."""
    step = next((step for step in plan.steps if isinstance(step, Migrate)), None)
    if step is None or not askable(run) or not alembic.history_command(step.command):
        return run
    image = Image(run, step.colour, step.service, step.command)
    revisions = image.history()
    if alembic.pending(revisions):
        gate.require(look(image, revisions, runs), run.host.name)
    return replace(run, revisions=revisions)


def askable(run: Run) -> bool:
    """Tell whether something serves that a migration can harm, and the database runs that it is asked of."""
    data = {service.name for service in run.release.of("data")}
    there = data <= run.facts.shared.keys() and {*run.release.resources} <= run.facts.resources
    return bool(run.judged_by.facts.edge.release) and there and not run.facts.orphans


def look(image: Image, revisions: tuple[Revision, ...], runs: tuple[Run, ...]) -> list[Check]:
    """Check what is pending; nothing more is asked where nothing is."""
    if not alembic.pending(revisions):
        return []
    return gate.checks(image, revisions, gate.targets(image.run.judged_by.state, image.run.target), database_of(runs))


def prepared(at: Environment, again: str, unscanned: str | None = None) -> tuple[Fleet, Image, str]:
    """Return the release that a deploy would bring, kept on the hosts, and its migrating image.

    Its image runs with the environment's secrets, so that it needs what a deploy's needs: a PASS of a scan, or a person
    who says why it has none, where the command `again` records that. Returns the reason, too.
    """
    facts = observe_all(at)
    fleet = assemble(at, preflight.require_deployable(at, facts), facts)
    image = image_of(fleet)
    if not image.run.facts.edge.release:
        what = "nothing serves yet: the first deploy migrates"
        raise Refused(what, where=at.settings.env, serves="nothing", then="inv deploy", slug="nothing-runs")
    if not askable(image.run):
        what = "the database does not run, or an interrupted migration does, or a network is new"
        then = "inv deploy, which starts what is missing and migrates"
        raise Refused(what, where=image.run.host.name, then=then, slug="database-not-ready")
    reason = require_scanned(fleet, again, unscanned)
    fleet.each(keep)
    return fleet, image, reason


def image_of(fleet: Fleet) -> Image:
    """Return the image that migrates; raise Refused where the release has none."""
    for run in fleet.runs:
        if service := run.release.migrating:
            return Image(run, other(run.facts.edge.colour), service.name, service.deploy.migrate)
    then = "x-deploy.migrate of a service says by which command"
    what = "no service of this release migrates the database"
    raise Refused(what, where="the compose files", then=then, slug="no-migrations")


def by_alembic(at: Environment, again: str) -> tuple[Fleet, Image]:
    """Return the same where Alembic migrates; raise Refused for another tool: nothing can look into its migrations."""
    fleet, image, _ = prepared(at, again)
    if not alembic.history_command(image.migrate):
        what = f"only Alembic's revisions can be looked at, and {image.service} migrates by {' '.join(image.migrate)}"
        then = "inv deploy, or inv migrate, runs it"
        raise Refused(what, where="x-deploy.migrate", then=then, slug="no-migrations")
    return fleet, image


def lint(at: Environment) -> list[Check]:
    """Check what a deploy would migrate now, and migrate nothing."""
    with locked(at, "migrate.lint"):
        fleet, image = by_alembic(at, "inv migrate.lint")
        revisions = image.history()
        return look(image, revisions, fleet.runs) or [Check("pending revisions", "PASS", "none")]


def status(at: Environment) -> Status:
    """Return what the database is at, and what it lacks of the release that a deploy would bring."""
    with locked(at, "migrate.status"):
        fleet, image = by_alembic(at, "inv migrate.status")
        revisions = image.history()
        pending = tuple(one.id for one in alembic.pending(revisions))
        return Status(fleet.release.id, alembic.current(revisions), pending, alembic.heads(revisions))


def migrate(at: Environment, unscanned: str = "") -> str:
    """Migrate with the image that a deploy would bring, and switch nothing; return the schema's revision after that.

    `unscanned` is why a person migrates with images without a PASS of a scan; the journal keeps it.
    """
    with locked(at, COMMAND):
        require_no_other(at)
        fleet, _, reason = prepared(at, "inv migrate", unscanned)
        return apply(fleet, reason)


def apply(fleet: Fleet, unscanned: str = "") -> str:
    """Let the gate look, then migrate; the journal says that it was begun, and how it ended."""
    image = image_of(fleet)
    steps = (*([AwaitOrphans(image.run.facts.orphans)] if image.run.facts.orphans else []),
             Migrate(image.colour, image.service, image.migrate))  # fmt: skip
    plan = Plan(fleet.release, image.colour, image.run.facts.edge.generation, steps)
    name = image.run.host.name
    fleet = require_safe(
        fleet, {run.host.name: plan if run.host.name == name else replace(plan, steps=()) for run in fleet.runs}
    )
    run = next(run for run in fleet.runs if run.host.name == name)
    run.note(command=COMMAND, state="begin", target=run.target, **({"unscanned": unscanned} if unscanned else {}))
    try:
        apply_plans(fleet, {one.host.name: steps if one is run else () for one in fleet.runs})
    except OpsError as error:
        if not isinstance(error, Interrupted | Unreachable):
            run.note(command=COMMAND, state="failed", target=run.target, error=error.what)
        raise
    run.note(command=COMMAND, state="done", target=run.target)
    schema = run.state.schema()
    return schema.revision if schema else ""


def resume(at: Environment) -> str:
    """Go on with an interrupted migration, by the release that it was of; one that still runs is waited for."""
    with locked(at, f"resume of {COMMAND}"):
        return apply(interrupted_fleet(at))


def abort(at: Environment) -> str:
    """Wait for what an interrupted migration left, and leave the rest: no migration is taken back."""
    with locked(at, f"abort of {COMMAND}"):
        fleet = interrupted_fleet(at)
        for run in fleet.runs:
            if run.facts.orphans:
                AwaitOrphans(run.facts.orphans).perform(run)
            if any(intention.command == COMMAND for intention in run.state.interruptions()):
                run.note(command=COMMAND, state="aborted", target=run.target)
        return fleet.release.id


def interrupted_fleet(at: Environment) -> Fleet:
    """Return the release of the interrupted migration."""
    by_host = at.each(lambda host: state_of(at, host).interruptions())
    target = next(one.target for own in by_host.values() for one in own if one.command == COMMAND)
    return fleet_of(at, target, observe_all(at), rebuilt=False)


def show_migrated(revision: str, *, json: bool) -> None:
    """Say what the schema is now."""
    if json:
        console.document({"revision": revision or None})
    else:
        console.say(f"the database is at {revision or 'what the migration left'}; inv deploy brings the code")


def show_aborted(release: str, *, json: bool) -> None:
    """Say that nothing was taken back."""
    if json:
        console.document({"release": release})
    else:
        console.say("what was migrated stays, and the rest is not done; inv migrate.status shows what is pending")


HANDLERS = {
    COMMAND: Handler(
        lambda at, json: show_migrated(resume(at), json=json), lambda at, json: show_aborted(abort(at), json=json)
    )
}
