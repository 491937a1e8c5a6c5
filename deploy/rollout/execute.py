"""Do the steps of plans: on one host one after the other, on many in step with each other, all written down before and after."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from deploy.core import console
from deploy.images.build import prune_release
from deploy.rollout import drain, drift, health, prepare, steps, traffic
from deploy.rollout.stages import Stage, batches, stages
from deploy.rollout.watch import Watch
from deploy.site.run import Fleet, Run


def execute_all(fleet: Fleet, plans: Mapping[str, Sequence[steps.Step]]) -> None:
    """Do each host's plan, stage by stage: nothing switches anywhere before every host is ready to; then a canary, then the others."""
    chosen = fleet.at.settings.rollout
    for stage, busy, do in staged(fleet, plans):
        with_traffic = sorted(busy, key=lambda run: not run.release.of("edge"))  # the canary is one that people visit
        for batch in batches(with_traffic, chosen.canary, chosen.batch) if stage is Stage.SWITCH else [busy]:
            fleet.each(do, batch)
        if stage is Stage.MIGRATE:
            share_schema(fleet, busy[0])


def return_all(
    fleet: Fleet, plans: Mapping[str, Sequence[steps.Step]], away: Collection[str], scheduling: Collection[str]
) -> set[str]:  # fmt: skip
    """Do each host's plan back, stage by stage and all hosts at once; what fails on one is said, and the others go on without it.

    While one that may be `scheduling` is `away`, not taken back or not known, no other host's scheduler is started. Returns
    the hosts that kept others from being whole.
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
            console.warn(
                f"the edge on {', '.join(fronts)} may name what runs behind it: no more is done there; inv deploy brings all to order"
            )
            return fronts
        doubtful = {*away, *lost} & {*scheduling}
        if stage is Stage.TAKE_OVER and doubtful and any(run.release.of("scheduler") for run in left):
            console.warn(f"{', '.join(sorted(doubtful))} may run the scheduler: none is started elsewhere")
            fleet.each(partial(tried, do=partial(take_over, plans=plans)), left)
            return doubtful
        fleet.each(partial(tried, do=do), left)
    return set()


def take_over(run: Run, plans: Mapping[str, Sequence[steps.Step]]) -> None:
    """Do the last stage of a plan, but for schedulers."""
    schedulers = {service.name for service in run.release.of("scheduler")}
    execute(run, [step for step in stages(plans[run.host.name])[Stage.TAKE_OVER] if schedulers.isdisjoint(getattr(step, "services", ()))])


def staged(fleet: Fleet, plans: Mapping[str, Sequence[steps.Step]]) -> Iterator[tuple[Stage, list[Run], Callable[[Run], None]]]:
    """Yield each stage that has something to do, the runs that have, and what does it for one of them."""
    cut = {name: stages(plan) for name, plan in plans.items()}
    for stage in Stage:
        busy = [run for run in fleet.runs if cut[run.host.name].get(stage)]
        if busy:
            yield stage, busy, lambda run, stage=stage: execute(run, cut[run.host.name][stage])  # type: ignore[misc]  # a default binds it


def share_schema(fleet: Fleet, migrated: Run) -> None:
    """Let every host know what the one that migrated found: a rollback is judged by it."""
    schema = migrated.state.schema()
    if schema:
        fleet.each(lambda run: run.state.keep_schema(schema), [run for run in fleet.runs if run is not migrated])


def execute(run: Run, plan: Iterable[steps.Step]) -> None:
    """Do each step; the journal says what was begun and what was done. Raise OpsError when one did not come to its end."""
    for step in plan:
        run.note(step=step.name, state="begin", target=run.bundle.release.id, details=asdict(step))
        with console.step(str(step), within=limit(step, run)):
            verdict = PERFORM[type(step)](step, run)
        run.note(step=step.name, state="done", target=run.bundle.release.id, **({"verdict": verdict} if verdict else {}))


def limit(step: steps.Step, run: Run) -> float:
    """Return the seconds that a step may take; 0 where no setting says so."""
    chosen = run.settings.rollout
    known = {
        steps.AwaitHealthy: chosen.healthy_within, steps.AwaitServed: chosen.served_within, steps.Watch: chosen.watch,
        steps.Drain: chosen.drain_within, steps.AwaitTasks: chosen.tasks_within,
    }  # fmt: skip
    return known.get(type(step), 0)


def watch_traffic(step: steps.Watch, run: Run) -> str:
    """Watch the release under real traffic; return by what it was judged."""
    return Watch(run, step).verdict()


def prune(step: steps.Prune, run: Run) -> None:
    """Forget releases that nobody will go back to."""
    for release in step.releases:
        prune_release(run.release.images, release, run.host)
        run.host.remove(run.state.bundle_folder(release))


PERFORM: Mapping[type[steps.Step], Callable[[Any, Run], str | None]] = {
    steps.AwaitOrphans: prepare.await_orphans,
    steps.RevertEdge: prepare.revert_edge,
    steps.PrepareEdge: prepare.prepare_edge,
    steps.CreateShared: prepare.create_shared,
    steps.StartShared: prepare.start_shared,
    steps.RecreateShared: drift.recreate,
    steps.Migrate: prepare.migrate,
    steps.RunJob: prepare.run_job,
    steps.StartColour: prepare.start_colour,
    steps.AwaitHealthy: health.await_healthy,
    steps.RegisterColour: traffic.register_colour,
    steps.AwaitServed: health.await_served,
    steps.Quiet: drain.quiet,
    steps.Resume: drain.resume,
    steps.Switch: traffic.switch_traffic,
    steps.TurnPage: traffic.turn_page,
    steps.SeeSwitched: traffic.see_switched,
    steps.Watch: watch_traffic,
    steps.Drain: drain.drain,
    steps.AwaitTasks: drain.await_tasks,
    steps.StopColour: drain.stop_colour,
    steps.RemoveStopped: drain.remove_stopped,
    steps.Prune: prune,
}
