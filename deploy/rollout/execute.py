"""Apply the plans of many hosts, in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

from deploy.core import console
from deploy.core.errors import Locked
from deploy.rollout import recovery_point
from deploy.rollout.stages import batches, stages
from deploy.rollout.steps import RecordMigrations, RecreateShared, Stage, Step
from deploy.site.run import Fleet, Run
from deploy.site.runner import execute
from deploy.state import locks

__all__ = ["execute", "execute_all", "return_all"]


def execute_all(fleet: Fleet, plans: Mapping[str, Sequence[Step]]) -> None:
    """Apply each host's plan, stage by stage: nothing switches before every host is ready; then a canary first.

    A backup that is due is taken before the first stage that migrates: data runs by then.
    """
    chosen, backup_due = fleet.at.settings.rollout, fleet.backup_due
    for stage, busy, do in staged(fleet, plans):
        if backup_due and stage in (Stage.MIGRATE, Stage.JOBS):
            recovery_point.require(fleet.at)
            backup_due = False
        with_traffic = sorted(busy, key=lambda run: not run.release.of("edge"))  # the canary is one that people visit
        disturbs = any(disturbs_dumps(run, plans, stage, migrates=fleet.migrates) for run in busy)
        with without_dumps(fleet) if disturbs else nullcontext():
            for batch in batches(with_traffic, chosen.canary, chosen.batch) if stage is Stage.SWITCH else [busy]:
                fleet.each(do, batch)
        if stage in (Stage.MIGRATE, Stage.RECORD):
            share_schema(fleet, busy[0])


def disturbs_dumps(run: Run, plans: Mapping[str, Sequence[Step]], stage: Stage, *, migrates: bool) -> bool:
    """Tell whether a stage changes the schema of a host, or stops its data services. Pure."""
    steps = (step for step in plans[run.host.name] if isinstance(step, RecreateShared) and step.stage is stage)
    recreated = {name for step in steps for name in step.services}
    stopped = recreated and any(service.name in recreated for service in run.release.of("data"))
    by_job = stage is Stage.JOBS and any(isinstance(step, RecordMigrations) for step in plans[run.host.name])
    return (migrates and (stage is Stage.MIGRATE or by_job)) or bool(stopped)


@contextmanager
def without_dumps(fleet: Fleet) -> Iterator[None]:
    """Hold the lock of dumps; raise Locked when a dump has not ended within `rollout.wait_for_dump`."""
    settings, command = fleet.at.settings, f"the change to {fleet.release.id}"
    try:
        with locks.held(fleet.at.hosts, settings.state_dir, command, "dump", settings.rollout.wait_for_dump):
            yield
    except Locked as dump:
        then = "inv unlock says who it is, rollout.wait_for_dump how long to wait"
        dump.then = f"wait until it has ended, then inv deploy; {then}"
        raise


def return_all(
    fleet: Fleet, plans: Mapping[str, Sequence[Step]], away: Collection[str], scheduling: Collection[str]
) -> set[str]:  # fmt: skip
    """Apply each host's plan back, stage by stage, all hosts at once; the others go on without one that fails.

    While one that may be `scheduling` is `away`, not taken back or unreachable, no other host's scheduler is started.
    Returns the hosts that are not whole again, and those that kept others from it.
    """
    lost: set[str] = set()

    def tried(run: Run, do: Callable[[Run], None]) -> None:
        try:
            do(run)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others must get back
            lost.add(run.host.name)
            console.warn(f"going back failed as well:\n{error}")

    for stage, busy, do in staged(fleet, plans):
        left = [run for run in busy if run.host.name not in lost]
        if fronts := lost & {run.facts.edge.front for run in left}:
            names = f"the edge on {', '.join(fronts)} may name what runs behind it"
            console.warn(f"{names}: no more is done there; inv deploy brings all to order")
            return lost
        doubtful = {*away, *lost} & {*scheduling}
        if stage is Stage.TAKE_OVER and doubtful and any(run.release.of("scheduler") for run in left):
            console.warn(f"{', '.join(sorted(doubtful))} may run the scheduler: none is started elsewhere")
            fleet.each(partial(tried, do=partial(take_over, plans=plans)), left)
            return lost | doubtful
        fleet.each(partial(tried, do=do), left)
    return lost


def take_over(run: Run, plans: Mapping[str, Sequence[Step]]) -> None:
    """Do the last stage of a plan, but for schedulers."""
    schedulers = {service.name for service in run.release.of("scheduler")}
    last = stages(plans[run.host.name])[Stage.TAKE_OVER]
    execute(run, [step for step in last if schedulers.isdisjoint(getattr(step, "services", ()))])


def staged(
    fleet: Fleet, plans: Mapping[str, Sequence[Step]]
) -> Iterator[tuple[Stage, list[Run], Callable[[Run], None]]]:
    """Yield each stage that has something to do, the runs that have, and what does it for one of them."""
    cut = {name: stages(plan) for name, plan in plans.items()}
    for stage in Stage:
        busy = [run for run in fleet.runs if cut[run.host.name].get(stage)]
        if busy:
            yield stage, busy, partial(execute_stage, cut=cut, stage=stage)


def execute_stage(run: Run, cut: Mapping[str, Mapping[Stage, Sequence[Step]]], stage: Stage) -> None:
    """Apply one stage of a host's plan."""
    execute(run, cut[run.host.name][stage])


def share_schema(fleet: Fleet, migrated: Run) -> None:
    """Let every host know the schema to which one has migrated: a rollback is judged by it."""
    schema = migrated.state.schema()
    if schema:
        fleet.each(lambda run: run.state.keep_schema(schema), [run for run in fleet.runs if run is not migrated])
