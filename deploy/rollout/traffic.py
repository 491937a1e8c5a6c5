"""What the edge serves: its files for a generation, and the switch to them."""

from __future__ import annotations

from deploy.edge import nginx, switch
from deploy.errors import OpsError
from deploy.rollout import facts, steps
from deploy.rollout.run import Run
from deploy.rollout.turns import replicas
from deploy.rollout.wanted import GENERATION


def switch_traffic(step: steps.Switch, run: Run) -> None:
    """Move traffic, and prove through the edge that it did."""
    there = run.containers(step.colour, [s.name for s in run.release.of("web")]) if step.colour else ()
    own = [c.name for s in run.release.of("web") for c in replicas(s.name, there)[: s.replicas]]
    members = (*own, *step.beside)
    route = nginx.Route(step.colour, step.release, step.maintenance, members)
    if run.release.of("edge"):
        switch.switch(run.settings, run.host, run.edge, edge_files(run, step.generation, route), step.generation, route)
    else:  # a host of workers or data, where several have an edge: what is in service is written down, and nobody asks there
        switch.write(run.settings, run.host, {}, step.generation, route)
        switch.point(run.settings, run.host, nginx.generation_folder(step.generation), switch.CURRENT, switch.PROVEN)


def see_switched(step: steps.SeeSwitched, run: Run) -> None:
    """Ask the host in front what its edge serves; raise OpsError unless it is what is wanted here."""
    known = facts.edge(run.settings, run.host, ())
    if (known.colour, known.release) != (step.colour, step.release):
        told = f"the edge serves {known.release or 'nothing'} ({known.colour}), not {step.release or 'nothing'} ({step.colour})"
        raise OpsError(told, where=step.front, then="inv status, then inv deploy")


def edge_files(run: Run, generation: int, route: nginx.Route) -> dict[str, str]:
    """Render what the edge reads: the release's own configuration, and the containers that it names now."""
    name = f"edge.{route.colour or 'none'}{'.maintenance' if route.maintenance else ''}.conf"
    there = run.host.engine.containers(run.settings.name)
    return {
        "nginx.conf": run.bundle.files[name].replace(GENERATION, str(generation)),
        "upstreams.conf": nginx.upstreams(run.settings, run.release.of("web"), there, route.members, route.colour or ""),
    }
