"""What a deploy leaves alone, once more: an edge that drifted, and the maintenance page.

Came from tests/integration/test_shared_and_warm.py, where a network that edge and app share holds the first, as flow/test_shared.py does.
The page is turned on and off for real by tests/integration/test_records.py, and held by flow/test_scale_and_maintenance.py.
"""

from __future__ import annotations

import re

from tests.integration.conftest import tiny
from tests.integration.test_shared_and_warm import identity
from tests.support.site import Site

__all__ = ["tiny"]  # a fixture


def test_the_edge_is_made_anew_only_when_told_to(tiny: Site) -> None:
    """No fault: what the edge is made of changes, and it is recreated where --include says so."""
    tiny.inv("deploy")
    assert tiny.inv("plan", "--json").document["hosts"][0]["drifted"] == []
    before = identity(tiny, "-edge-")
    tiny.replace(
        "docker/compose.yml",
        f"    image: {tiny.app}/edge\n",
        f"    image: {tiny.app}/edge\n    environment: {{ADDED: later}}\n",
    )
    tiny.commit()
    plan = tiny.inv("plan")
    assert "inv deploy --include=edge" in plan.stderr
    assert tiny.inv("plan", "--json").document["hosts"][0]["drifted"] == ["edge"]
    tiny.inv("deploy")
    assert identity(tiny, "-edge-") == before, "a deploy never recreates the edge"
    output = tiny.inv("deploy", "--include=edge,app", code=2).stderr
    assert ("app is no shared service" in output, "building images" in output) == (True, False), output
    output = tiny.inv("deploy", "--include=edge").stderr
    assert re.search(r"outage: at most \d+\.\d s; the app answers again", output), output
    assert identity(tiny, "-edge-") != before
    assert tiny.get("/health")[0] == 200
    assert tiny.inv("plan", "--json").document["hosts"][0]["drifted"] == []
    assert tiny.inv("deploy", "--include=edge", "--json").document["changed"] is False


def test_maintenance_is_kept_by_a_deploy_and_taken_away_again(tiny: Site) -> None:
    """No fault: a deploy behind the page, and the page taken away."""
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
