"""A site that is really broken: status and triage say it, and the playbook's commands lead out, typed one by one."""

from __future__ import annotations

import json
from typing import Any

from deploy.incidents.playbooks import playbooks
from tests.support import pages
from tests.support.site import Site, docker

PAGES, TRIAGE = playbooks(), "incident.triage"


def follow(site: Site, name: str, filled: dict[str, str]) -> tuple[list[int], Any]:
    """Type every command of a page in its order; return the exit codes, and what triage saw."""
    typed = pages.commands(PAGES[name].text, filled)
    done = [site.inv(*words[1:], *(["--json"] if words[1] == TRIAGE else []), code=None) for words in typed]
    triage = next(ran.document for ran, words in zip(done, typed, strict=True) if words[1] == TRIAGE)
    return [ran.code for ran in done], triage


def test_the_pages_for_a_service_that_is_down_and_for_a_bad_deploy_lead_out(tiny: Site) -> None:
    first = tiny.inv("deploy", "--json").document["release"]
    filled = {"SERVICE": "app", "RELEASE": first}
    (web,) = [name for name in tiny.containers() if "-app-" in name]
    docker("kill", web)
    codes, triage = follow(tiny, "service-down", filled)
    assert codes == [3, 0, 0, 0, 0]
    assert (triage["visitors"], triage["next"]) == ("errors", f"inv deploy --to={first}")
    assert "app has stopped (exited, exit code 137)" in triage["causes"][0]["what"]
    assert triage["seconds"] < 10
    assert tiny.get("/version") == (200, json.dumps({"release": first}))

    tiny.replace("deploy/environments/local.toml", '"well"', '"errs"')
    tiny.commit("healthy, and of no use")
    bad = tiny.inv("deploy", "--json").document["release"]
    status = tiny.inv("status", "--json", code=3).document
    assert status["findings"][0]["what"] == "the first page answers 500 at the edge"
    codes, triage = follow(tiny, "bad-deploy", filled)
    assert codes == [0, 0, 0, 0]
    assert (triage["causes"][0]["what"].startswith(f"release {bad} came"), triage["next"]) == (True, "inv rollback")
    assert tiny.get("/")[0] == 200
    keys = {one["name"]: one["value"] for one in tiny.inv("metrics", "--json").document["measures"]}
    assert (keys["change failure rate"], keys["lead time"] > 0) == (0.5, True)
    gates = {one["gate"]: one["result"] for one in tiny.inv("validate", "--json", code=3).document["gates"]}
    assert [gates[name] for name in ("services up", "health green", "rollback rehearsed")] == ["PASS"] * 3
