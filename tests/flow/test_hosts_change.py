"""A fleet whose hosts change: a role moves, a host comes empty, leaves, or breaks once all is done."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.core.errors import Interrupted, Refused, Unreachable
from deploy.rollout import commands, roles
from deploy.site.facts import observe_all
from tests.support.apart import Site
from tests.support.roles import Roles, Seen

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("other", ["a", "z"])
def test_the_scheduler_moves_and_never_runs_twice(tmp_path: Path, other: str) -> None:
    site = Roles(tmp_path)
    before = {"main": "edge app worker data", other: "edge app"}
    after = {"main": "edge app data", other: "edge app worker"}
    for number, servers in enumerate((before, after, before)):
        site.deploy(f"r{number}", servers)
        there = {"main"} if servers is before else {other}
        assert (site.where("beat"), site.where("worker")) == (there, there)


def test_the_scheduler_moves_to_a_host_that_is_new(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app worker data"})
    site.deploy("r2", {"main": "edge app worker data", "a": "worker"})
    assert (site.where("beat"), site.where("worker")) == ({"a"}, {"a", "main"})
    with pytest.raises(Refused, match="there is no earlier release") as raised:
        commands.rollback(site.at)
    assert raised.value.where.startswith("a: /var")


def test_a_host_that_nothing_is_placed_on_is_emptied(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app data worker", "z": "edge app worker"})
    site.deploy("r2", {"main": "edge app data worker", "z": "monitoring"})
    assert site.where("backend") == site.where("worker") == {"main"}


def test_a_host_that_was_taken_out_is_named_while_what_runs_there_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site, servers = Roles(tmp_path), {"main": "edge app data worker", "z": "edge app worker"}
    site.deploy("r1", servers)
    roles.removed_hosts(site.at, roles.recorded(site.at, observe_all(site.at)))
    assert "no more" not in capsys.readouterr().err
    site.at = site.at._replace(hosts=(site.hosts["main"],))
    roles.removed_hosts(site.at, roles.recorded(site.at, observe_all(site.at)))
    assert "z was removed from [hosts] but still runs what it had" in capsys.readouterr().err.replace("\n", " ")


def test_a_reinstalled_host_does_not_forbid_going_back(tmp_path: Path) -> None:
    """It never heard of the schema that its release is of; the others did."""
    site, servers = Roles(tmp_path), {"main": "edge app worker data", "z": "edge app"}
    earlier = site.deploy("r1", servers).release
    site.hosts["z"] = Seen("z", tmp_path / "anew", Event())
    assert site.deploy("r1", servers).release == earlier
    site.deploy("r2", servers)
    assert commands.rollback(site.at).release == earlier
    assert site.where("backend") == {"main", "z"}


@pytest.mark.parametrize("bad", ["app1", "app3"])
def test_a_connection_that_breaks_once_all_is_done_is_an_interruption(tmp_path: Path, bad: str) -> None:
    """Not exit 1, which says that the release before serves."""
    site = Site(tmp_path)
    host: Any = site.hosts[bad]
    append = host.append

    def broken(path: Path, line: str) -> None:
        if path.name == "ledger.jsonl":
            host.append = append
            raise Unreachable(f"the connection to {bad} broke")
        append(path, line)

    host.append = broken
    with pytest.raises(Interrupted, match=f"the connection to {bad} broke") as raised:
        site.deploy("r3")
    assert "r3" in raised.value.serves
