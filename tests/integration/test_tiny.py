"""Another team's app: its own compose file, no database, no secrets."""

from __future__ import annotations

import json

from tests.support.site import Site, docker


def test_first_deploy_second_deploy_rollback_and_nothing_to_do(tiny: Site) -> None:
    """The whole life of a small site."""
    assert tiny.inv("plan", "--json").document["hosts"][0]["serving"] is None
    first = tiny.inv("deploy", "--json").document
    assert json.loads(tiny.get("/version")[1]) == {"release": first["release"]}
    again = tiny.inv("deploy", "--json").document
    assert (again["changed"], again["release"]) == (False, first["release"])
    assert tiny.inv("plan", "--json").document["hosts"][0]["steps"] == []

    tiny.replace("app/app.py", "says hello", "says good day")
    tiny.commit()
    second = tiny.inv("deploy", "--json").document
    assert second["colour"] != first["colour"]
    assert json.loads(tiny.get("/version")[1]) == {"release": second["release"]}

    before = set(tiny.containers())
    framed = tiny.inv("deploy", "--json", OPS_DOMAIN="localhost books.test").document
    assert (framed["changed"], framed["release"], framed["generation"]) == (
        True,
        second["release"],
        second["generation"] + 1,
    )
    assert set(tiny.containers()) == before

    back = tiny.inv("rollback", "--json").document
    assert "server_name localhost books.test;" in (tiny.state / "edge" / "current" / "nginx.conf").read_text()
    assert (back["release"], back["colour"]) == (first["release"], first["colour"])
    assert json.loads(tiny.get("/version")[1]) == {"release": first["release"]}
    assert "no earlier release" in tiny.inv("rollback", code=2).stderr  # never back to the one that was left
    status = tiny.inv("status", "--json").document
    assert (status["env"], status["release"], status["colour"]) == ("local", first["release"], first["colour"])
    assert status["hosts"][0]["edge"]["generation"] == back["generation"]
    commands = [(entry["command"], entry["outcome"]) for entry in tiny.inv("history", "--json").document]
    assert commands == [("rollback", "in service"), *[("deploy", "in service")] * 3]

    tiny.inv("down")
    assert tiny.containers() == {}
    assert f"tiny/app:{second['release']}" in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert "--yes" in tiny.inv("down", "--volumes", code=2).stderr  # nobody can be asked here
    tiny.inv("down", "--volumes", "--yes")
    assert second["release"] not in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert f"{tiny.app}-local" not in docker("volume", "ls", "--quiet")
    assert tiny.inv("status", "--json").document["release"] is None
