"""Apply the plans of many hosts, in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from deploy.core import console
from deploy.core.errors import Locked
from deploy.rollout import recovery_point
from deploy.rollout.steps import AwaitHealthy, RecordMigrations, RecreateShared, Stage, StartColour, Step
from deploy.site.run import Fleet, Run
from deploy.site.runner import execute
from deploy.state import locks

T = TypeVar("T")
# what stops before the last switch makes room, and belongs to an earlier stage
BEFORE_THE_SWITCH = {Stage.DRAIN: Stage.SHARED, Stage.RETIRE: Stage.CLEAR}


@dataclass(frozen=True)
class StageOfPlans:
    """One stage of the plans of many hosts: the runs that have steps in it, and these steps by host."""

    stage: Stage
    runs: Sequence[Run]
    steps: Mapping[str, Sequence[Step]]

    def perform(self, run: Run) -> None:
        """Perform one host's steps of the stage; raise OpsError when one fails."""
        execute(run, self.steps[run.host.name])

    def perform_without_schedulers(self, run: Run) -> None:
        """Perform one host's steps of the stage, but for those that start or stop a scheduler."""
        schedulers = {service.name for service in run.release.of("scheduler")}
        steps = self.steps[run.host.name]
        execute(run, [step for step in steps if schedulers.isdisjoint(getattr(step, "services", ()))])


def apply_plans(fleet: Fleet, plans: Mapping[str, Sequence[Step]]) -> None:
    """Apply each host's plan, stage by stage: nothing switches before every host is ready; then a canary first.

    A backup that is due is taken before the first stage that migrates: data services run by then.
    """
    backup_due = fleet.backup_due
    for part in stages_of(fleet, plans):
        if backup_due and part.stage in (Stage.MIGRATE, Stage.JOBS):
            recovery_point.require(fleet.at)
            backup_due = False
        with without_dumps(fleet) if disturbs_dumps(part, plans, migrates=fleet.migrates) else nullcontext():
            for batch in switch_batches(fleet, part.runs) if part.stage is Stage.SWITCH else [part.runs]:
                fleet.each(part.perform, batch)
        if part.stage in (Stage.MIGRATE, Stage.RECORD):
            share_schema(fleet, part.runs[0])


def apply_reversals(
    fleet: Fleet, plans: Mapping[str, Sequence[Step]], absent: Collection[str], scheduling: Collection[str]
) -> set[str]:  # fmt: skip
    """Apply each host's plan back, stage by stage, all hosts at once; the others go on without one that fails.

    `absent` hosts are not taken back, or are unreachable. While one of the hosts that may be `scheduling` is absent or
    has failed, no other host's scheduler is started: there must never be two.

    Returns the hosts that did not reach the end of their plan, and those that kept others from it.
    """
    failed: set[str] = set()

    for part in stages_of(fleet, plans):
        left = [run for run in part.runs if run.host.name not in failed]
        if fronts := failed & {run.facts.edge.front for run in left}:
            names = f"the edge on {', '.join(fronts)} may name what runs behind it"
            console.warn(f"{names}: no more is done there; inv deploy brings all to order")
            return failed
        doubtful = {*absent, *failed} & {*scheduling}
        may_be_two = doubtful and any(run.release.of("scheduler") for run in left)
        if part.stage is Stage.TAKE_OVER and may_be_two:
            console.warn(f"{', '.join(sorted(doubtful))} may run the scheduler: none is started elsewhere")
            failed |= perform_each(fleet, left, part.perform_without_schedulers)
            return failed | doubtful
        failed |= perform_each(fleet, left, part.perform)
    return failed


def perform_each(fleet: Fleet, runs: Sequence[Run], perform: Callable[[Run], None]) -> set[str]:
    """Perform a part of the way back on each host; warn of those where it fails, and return them."""
    failed: set[str] = set()

    def attempt(run: Run) -> None:
        try:
            perform(run)
        except Exception as error:  # noqa: BLE001  # whatever it is, the others must get back
            failed.add(run.host.name)
            console.warn(f"going back failed as well:\n{error}")

    fleet.each(attempt, runs)
    return failed


def stages_of(fleet: Fleet, plans: Mapping[str, Sequence[Step]]) -> Iterator[StageOfPlans]:
    """Yield the stages of some plans in their order, those in which any host has a step."""
    by_host = {name: stages(plan) for name, plan in plans.items()}
    for stage in Stage:
        steps = {name: cut[stage] for name, cut in by_host.items() if stage in cut}
        if steps:
            yield StageOfPlans(stage, [run for run in fleet.runs if run.host.name in steps], steps)


def switch_batches(fleet: Fleet, runs: Sequence[Run]) -> list[Sequence[Run]]:
    """Divide the hosts that switch: the canary, which is one that people visit, then the batches of the settings."""
    with_traffic_first = sorted(runs, key=lambda run: not run.release.of("edge"))
    return batches(with_traffic_first, fleet.at.settings.rollout.canary, fleet.at.settings.rollout.batch)


def stages(plan: Sequence[Step]) -> dict[Stage, tuple[Step, ...]]:
    """Cut a plan into its stages, at which hosts wait for each other; the steps keep their order. Pure."""
    switching = (Stage.SWITCH, Stage.FOLLOW)
    last_switch = max((at for at, step in enumerate(plan) if step.stage in switching), default=-1)
    cut: dict[Stage, tuple[Step, ...]] = {}
    stage = Stage.SHARED
    for at, step in enumerate(plan):
        if at < last_switch:
            own = BEFORE_THE_SWITCH.get(step.stage, step.stage)
        elif at > last_switch and isinstance(step, (StartColour, AwaitHealthy)):
            own = Stage.TAKE_OVER
        else:
            own = step.stage
        stage = max(stage, own)
        cut[stage] = (*cut.get(stage, ()), step)
    return cut


def batches(runs: Sequence[T], canary: int, size: int) -> list[Sequence[T]]:
    """Divide what switches: the canary by itself, then `size` at once; 0 is all that are left. Pure."""
    first, rest = runs[:canary], runs[canary:]
    size = size or len(rest) or 1
    return [part for part in (first, *(rest[at : at + size] for at in range(0, len(rest), size))) if part]


def disturbs_dumps(part: StageOfPlans, plans: Mapping[str, Sequence[Step]], *, migrates: bool) -> bool:
    """Tell whether a stage changes the schema, or stops data services, on any host. Pure."""
    return any(
        stops_data(run, part.steps[run.host.name]) or (migrates and changes_schema(part.stage, plans[run.host.name]))
        for run in part.runs
    )


def changes_schema(stage: Stage, plan: Sequence[Step]) -> bool:
    """Tell whether a plan changes the schema in a stage: by its migration, or by jobs that migrate. Pure."""
    jobs_migrate = any(isinstance(step, RecordMigrations) for step in plan)
    return stage is Stage.MIGRATE or (stage is Stage.JOBS and jobs_migrate)


def stops_data(run: Run, steps: Sequence[Step]) -> bool:
    """Tell whether some steps recreate a data service of a host. Pure."""
    recreated = {name for step in steps if isinstance(step, RecreateShared) for name in step.services}
    return any(service.name in recreated for service in run.release.of("data"))


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


def share_schema(fleet: Fleet, migrated: Run) -> None:
    """Let every host know the schema to which one has migrated: a rollback is judged by it."""
    schema = migrated.state.schema()
    if schema:
        fleet.each(lambda run: run.state.keep_schema(schema), [run for run in fleet.runs if run is not migrated])
