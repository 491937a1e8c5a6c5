"""What a deploy leaves alone: shared services that drifted, and a colour that is kept warm."""

from __future__ import annotations

import re

from tests.site import Site, docker


def identity(site: Site, part: str) -> str:
    """The id of the container whose name has this part."""
    name = next(name for name in site.containers() if part in name)
    return docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", name)


def test_the_edge_is_made_anew_only_when_told_to(tiny: Site) -> None:
    tiny.inv("deploy")
    assert tiny.inv("plan", "--json").document["drifted"] == []
    before = identity(tiny, "-edge-")
    tiny.replace("docker/compose.yml", "    image: tiny/edge\n", "    image: tiny/edge\n    environment: {ADDED: later}\n")
    tiny.commit()
    plan = tiny.inv("plan")
    assert "inv deploy --include=edge" in plan.stderr
    assert tiny.inv("plan", "--json").document["drifted"] == ["edge"]
    tiny.inv("deploy")
    assert identity(tiny, "-edge-") == before, "a deploy never recreates the edge"
    said = tiny.inv("deploy", "--include=edge,app", code=2).stderr
    assert ("app is no shared service" in said, "building images" in said) == (True, False), said
    said = tiny.inv("deploy", "--include=edge").stderr
    assert re.search(r"measured: the app did not answer for \d+\.\d s; all healthy after \d+\.\d s", said), said
    assert identity(tiny, "-edge-") != before
    assert tiny.get("/health")[0] == 200
    assert tiny.inv("plan", "--json").document["drifted"] == []
    assert tiny.inv("deploy", "--include=edge", "--json").document["changed"] is False


def test_a_warm_colour_runs_on_and_takes_over_as_it_is(tiny: Site) -> None:
    tiny.extra["OPS_ROLLOUT__KEEP_WARM"] = "true"
    tiny.inv("deploy")
    first = identity(tiny, "-blue-")
    tiny.replace("app/app.py", "Takes a burst", "Stands a burst")
    tiny.commit()
    tiny.inv("deploy")
    assert identity(tiny, "-blue-") == first
    assert tiny.inv("deploy", "--json").document["changed"] is False
    said = tiny.inv("rollback").stderr
    assert "start blue" not in said
    assert identity(tiny, "-blue-") == first
    assert (tiny.get("/health")[0], tiny.inv("status", "--json").document["colour"]) == (200, "blue")
    tiny.inv("deploy", OPS_ROLLOUT__KEEP_WARM="false")
    assert tiny.containers()[next(name for name in tiny.containers() if "-blue-" in name)] == "exited"


def test_maintenance_is_kept_by_a_deploy_and_taken_away_again(tiny: Site) -> None:
    tiny.extra["OPS_ROLLOUT__WATCH"] = "3"
    assert "no release" in tiny.inv("maintenance", "--on", code=2).stderr
    first = tiny.inv("deploy", "--json").document["release"]
    assert "--on or --off" in tiny.inv("maintenance", code=2).stderr
    tiny.inv("maintenance", "--on")
    status, page = tiny.get("/")
    assert (status, "Back in a moment" in page) == (503, True)
    assert f"release {first} (blue), behind the maintenance page" in tiny.inv("status").stderr
    assert "already" in tiny.inv("maintenance", "--on").stderr
    assert tiny.get("/edge-health")[0] == 200, "a balancer lets visitors see the page"
    tiny.replace("app/app.py", "Takes a burst", "Stands a burst")
    tiny.commit()
    second = tiny.inv("deploy", "--json").document["release"]
    assert tiny.get("/")[0] == 503
    tiny.inv("maintenance", "--off")
    assert (tiny.get("/version")[0], second in tiny.get("/version")[1]) == (200, True)
    assert tiny.inv("deploy", "--json").document["changed"] is False
