"""The commands that change which release serves, each from the lock to the outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from deploy.config.environment import Environment
from deploy.core.facts import Facts
from deploy.release.revoked import without_revoked
from deploy.rollout import drift, preflight, questions
from deploy.rollout.apply import REASONS, Outcome, apply, make_outcome
from deploy.rollout.fleet_plan import make_plans
from deploy.rollout.interrupted_releases import intentions, interruption, record_aborted
from deploy.rollout.kept_release import require_kept
from deploy.rollout.releases import (
    Proposal,
    assemble,
    chosen_to_recreate,
    earlier_release,
    fleet_of,
    interrupted_release,
    keep,
    propose,
)
from deploy.rollout.reversible import require_abortable, require_reversible, require_routes
from deploy.rollout.revert import reversals_to_accepted, revert, steps_back
from deploy.rollout.scanned import require_scanned, served_before
from deploy.rollout.takedown import end_renewals
from deploy.site.facts import naming_what_serves, observe_all
from deploy.site.interrupted import require_no_other
from deploy.site.locked import locked
from deploy.site.run import Fleet

Confirm = Callable[[Callable[[], str]], None]


def confirmed(_: Callable[[], str]) -> None:
    """Agree without asking anybody."""


def plan(at: Environment) -> dict[str, Proposal]:
    """Return what a deploy would do now, by host."""
    with naming_what_serves(at):
        facts = observe_all(at)
        ready = preflight.require_deployable(at, facts)
        fleet = assemble(at, ready, facts)
        plans = make_plans(fleet, "deploy")
        return fleet.each(lambda run: propose(run, plans[run.host.name], ready.left_out))


def deploy(
    at: Environment, *, to: str = "", include: str = "", unscanned: str = "", confirm: Confirm = confirmed
) -> Outcome:  # fmt: skip
    """Put the checkout into service without losing a request; `to` names an earlier release instead.

    `confirm` asks a person, once nothing stands in the way, and raises Refused unless they agree.

    `include` names shared services, with commas, that are recreated where they differ or fail: an outage, announced.
    `unscanned` is why a person deploys images without a PASS of a scan, where that is needed; the ledger keeps it.
    """
    if to:
        return rollback(at, to=to, include=include, unscanned=unscanned, confirm=confirm)
    with locked(at, "deploy"):
        require_no_other(at)
        facts = observe_all(at)
        ready = preflight.require_deployable(at, facts, include)
        fleet = assemble(at, ready, facts)
        recreate = fleet.each(lambda run: drift.to_recreate(ready.recreate, run))
        drift.require_fitting(fleet, recreate, "inv deploy")
        reason = require_scanned(fleet, "inv deploy", unscanned)
        confirm(lambda: questions.before_deploy(fleet))
        fleet.each(keep)
        outcome = apply(fleet, "deploy", recreate=recreate, unscanned=reason)
        end_renewals(at)
        return outcome


def rollback(
    at: Environment, *, to: str = "", include: str = "", schema_fits: str = "", unscanned: str = "",
    confirm: Confirm = confirmed,
) -> Outcome:  # fmt: skip
    """Put an earlier release back into service, with its images, files and unrevoked secrets; the schema stays.

    `schema_fits` is why a person says that the schema fits, where that would be refused; the ledger keeps it.
    `unscanned` is the same of images without a PASS of a scan; only a release that never served is asked for one.

    Shared services stay as well. Recreated are those that `include` names, and those that fail since the release which
    serves recreated them.
    """
    with locked(at, "rollback"):
        facts = observe_all(at)
        target = to or earlier_release(at, facts)
        fleet = fleet_of(at, target, facts, rebuilt=not to, going_back=True)
        require_kept(fleet)
        recreate = chosen_to_recreate(fleet, include)
        require_reversible(fleet, schema_fits)
        needs_scan = to and not served_before(fleet)
        reason = require_scanned(fleet, f"inv rollback --to={to}", unscanned) if needs_scan else ""
        drift.require_fitting(fleet, recreate, f"inv rollback{f' --to={to}' if to else ''}", forward=False)
        fleet.each(lambda run: drift.warn_of_failing(run, recreate[run.host.name], f"inv rollback --to={target}"))
        confirm(lambda: questions.before_rollback(fleet))
        fleet = Fleet(at, tuple(fleet.each(without_revoked).values()))
        return apply(fleet, "rollback", recreate=recreate, schema_fits=schema_fits, unscanned=reason)


def resume(at: Environment) -> Outcome | None:
    """Go on towards the release of the interrupted command; None when nothing was interrupted.

    Where the journal lost the line that names it, the release that the edge serves is brought to its end.
    """
    with locked(at, "resume"):
        facts, interrupted = observe_all(at), interruption(at)
        command = interrupted.command if interrupted else "deploy"
        target = interrupted.target if interrupted else interrupted_release(facts)
        if not target:
            return None
        # what served once has all its containers; of a deploy that was cut off some may be missing
        fleet = fleet_of(at, target, facts, rebuilt=not interrupted or command != "deploy")
        require_routes(fleet)
        retry = f"inv abort; or, where its files are, inv {command}"
        drift.require_fitting(fleet, dict.fromkeys(facts, ()), retry, forward=command == "deploy")
        details = interrupted.details if interrupted else {}
        schema_fits, unscanned = (str(details.get(name) or "") for name in REASONS)
        outcome = apply(fleet, command, resumed=True, schema_fits=schema_fits, unscanned=unscanned)
        return outcome if interrupted or outcome.changed else None


def abort(at: Environment) -> Outcome | None:
    """Go back to the release that the ledger calls in service; None when there is nothing to undo."""
    started = time.monotonic()
    with locked(at, "abort"):
        facts, interrupted = observe_all(at), intentions(at)
        require_abortable(at, interrupted, facts)
        reversals = reversals_to_accepted(at, interrupted, facts)
        if not (interrupted or any(steps_back(reversals).values())):
            return None
        revert(at, reversals, then="inv abort again, once every host answers")
        after = observe_all(at)
        record_aborted(at, {name: interrupted[name] for name in interrupted.keys() & reversals.keys()}, after)
        return aborted_outcome(after, seconds=round(time.monotonic() - started, 1))


def aborted_outcome(facts: Mapping[str, Facts], seconds: float) -> Outcome:
    """Return what serves on the hosts after an abort, as an outcome."""
    edges = {name: own.edge for name, own in facts.items()}
    releases = dict.fromkeys(edge.release for edge in edges.values() if edge.release)
    places = {name: (edge.colour or "", edge.generation) for name, edge in edges.items()}
    return make_outcome(", ".join(releases), places, changed=True, seconds=seconds)
