"""What must be true before an earlier release is put back into service."""

from __future__ import annotations

from collections.abc import Mapping

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.facts import Facts
from deploy.core.model import WHOLE, Release, Schema
from deploy.database.schema import revisions, unfit
from deploy.edge import nginx
from deploy.rollout.roles import require_unmoved
from deploy.rollout.unmanaged import ADVICE, unmanaged_migrations
from deploy.site import rebuild
from deploy.site.run import Fleet
from deploy.state.store import Intention, State, state_of


def require_reversible(fleet: Fleet, schema_fits: str = "") -> None:
    """Refuse a rollback to a release that would not find its data, or cannot work on the schema.

    `schema_fits` is why a person says that it can.
    """
    facts = {run.host.name: run.facts for run in fleet.runs}
    require_routes(fleet)
    require_unmoved({run.host.name: run.release for run in fleet.runs}, facts)
    if not schema_fits:
        fleet.each(lambda run: require_schema_fits(run.state, run.release, run.facts))
        warn_of_unmanaged_migrations(fleet)


def warn_of_unmanaged_migrations(fleet: Fleet) -> None:
    """Warn where jobs of the release that serves may have migrated the database, and nothing shows whether they did."""
    left = {release.id: release for run in fleet.runs if (release := run.serving_release)}
    for release in left.values():
        if jobs := unmanaged_migrations(release.services):
            target = fleet.runs[0].release.id
            what = f"{jobs} of release {release.id} may have migrated the database"
            console.warn(f"{what}: nothing shows whether release {target} fits it; {ADVICE}")


def require_routes(fleet: Fleet) -> None:
    """Refuse a release of an older toolkit where the edge has a frame of its own: an old frame would come back."""
    split = [run for run in fleet.runs if run.facts.edge.frame not in ("", WHOLE)]
    across = [run for run in split if nginx.is_whole(run.bundle.files)]
    if across:
        release, where = across[0].bundle.release, ", ".join(run.host.name for run in across)
        what = f"release {release.id} is from before the edge's configuration was split in a frame and routes"
        then = f"inv deploy of commit {release.revision} renders it again"
        raise Refused(what, where=where, then=then, slug="routes-missing")


def require_abortable(at: Environment, interrupted: Mapping[str, Intention], facts: Mapping[str, Facts]) -> None:
    """Refuse an abort that would undo on some hosts what is done on others, or go back to what cannot serve."""
    require_accepted_nowhere(interrupted, facts)
    require_recorded(interrupted, facts)
    accepted = {name: own.accepted for name, own in facts.items() if own.accepted}
    hosts = [host for host in at.hosts if host.name in accepted]
    kept = at.each(
        lambda host: rebuild.release(state_of(at, host), accepted[host.name], facts[host.name].containers), hosts
    )  # fmt: skip
    require_unmoved(kept if interrupted else {}, facts)
    for host in hosts:
        own, release = facts[host.name], kept[host.name]
        if own.edge.release != own.accepted:
            require_schema_fits(state_of(at, host), release, own)


def require_accepted_nowhere(interrupted: Mapping[str, Intention], facts: Mapping[str, Facts]) -> None:
    """Refuse to undo on some hosts a release that others have accepted: there only the line that says so is missing."""
    for target in {intention.target for intention in interrupted.values()}:
        accepted = [name for name, own in facts.items() if own.accepted == target]
        everywhere = all(own.edge.release == target for own in facts.values())
        partly = 0 < len(accepted) < len(facts)
        if partly and (everywhere or any(name not in interrupted for name in accepted)):
            names = ", ".join(name for name in facts if name not in accepted)
            what = f"release {target} serves, and the ledger of {names} has no entry for it"
            raise Refused(what, where=names, then="inv resume, then inv rollback", slug="ledger-incomplete")


def require_recorded(interrupted: Mapping[str, Intention], facts: Mapping[str, Facts]) -> None:
    """Refuse to empty a host of what serves there when its ledger lacks it; an interrupted first release may go."""
    for name, own in facts.items():
        serves = own.edge.release
        first = name in interrupted and interrupted[name].target == serves and not own.unrecorded
        if serves and not (own.accepted or first) and any(c.release == serves and c.alive for c in own.containers):
            what = f"release {serves} serves on {name}, whose ledger has no entry for it"
            raise Refused(what, where=name, then="inv resume", slug="ledger-incomplete")


def require_schema_fits(state: State, release: Release, facts: Facts) -> None:
    """Refuse a release that cannot work on the schema of a host, by the ledger there."""
    schema_fits(release, state.schema_of(release.id), facts.schema, facts.serving)


def schema_fits(target: Release, revision: str | None, schema: Schema | None, serving: str) -> None:
    """Refuse to go back to code that cannot work on the schema, or where no record says whether it can.

    On a host that does not migrate itself a missing record is no reason: the host that migrated may be gone.
    """
    if not (target.migrating or target.listing) and not (schema and revision):
        return
    what = misfit(target.id, revision, schema)
    if what:
        back = f"inv rollback --to={target.id} --schema-fits=REASON"
        then = f"go forward with inv deploy of fixed code; if it does fit, {back}"
        raise Refused(what, where="the database", serves=serving, then=then, slug="schema-does-not-fit")


def misfit(target: str, revision: str | None, schema: Schema | None) -> str:
    """Say why a release does not fit the schema, or that nothing shows it; empty where it fits. Pure."""
    if schema is None or revision is None:
        return f"it is not known whether release {target} fits the database's schema"
    if revision in schema.serves:
        return ""
    if revision in revisions(schema.migrations):
        names = ", ".join(unfit(schema.migrations, revision))
        return f"the database has migrations that release {target} lacks, not marked compatible: {names}"
    fitting = f"on which only {', '.join(schema.serves)} can work"
    return f"release {target} is of schema {revision}; the database is at {schema.revision}, {fitting}"
