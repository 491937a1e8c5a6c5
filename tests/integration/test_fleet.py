"""One release on three real hosts over SSH, one of them on the classic image store.

From bare hosts to a resume from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import load
from tests.machines import Fleet, Machine, Store
from tests.support import remote
from tests.support.site import Site, make_tiny

Hosts = dict[str, Machine]


@pytest.fixture(scope="module")
def hosts(machines: Fleet) -> Iterator[Hosts]:
    """Three bare hosts."""
    stores: dict[str, Store] = {"app1": "containerd", "app2": "containerd", "app3": "classic"}
    started = {name: machines.start(f"fleet-{name}", store) for name, store in stores.items()}
    yield started
    for machine in started.values():
        machines.end(machine)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, machines: Fleet, hosts: Hosts) -> Iterator[Site]:
    """The tiny app with these hosts as its environment."""
    site = make_tiny(tmp_path_factory.mktemp("fleet"))
    site.name_images()
    remote.name_hosts(site, hosts, machines.key, '[variables]\nBEHAVIOUR = "well"')
    remote.give_secret(site, "kept")
    yield site
    site.sweep()


@pytest.fixture
def behind(tmp_path: Path, machines: Fleet, hosts: Hosts) -> Iterator[Site]:
    """The tiny app with one edge, and two hosts of the app behind it."""
    site = make_tiny(tmp_path / "behind")
    site.name_images()
    own = {name: f'roles = ["app"]\nprivate = "{machine.address}"' for name, machine in hosts.items()} | {
        "app1": 'roles = ["edge"]'
    }
    remote.name_hosts(site, hosts, machines.key, '[variables]\nBEHAVIOUR = "well"', own)
    yield site
    remote.inv(site, "down", "--volumes", "--yes", code=None)
    site.sweep()


def release(site: Site, greeting: str) -> None:
    """Make another release of the app and bring its images to the hosts."""
    with (site.root / "app/app.py").open("a") as file:
        file.write(f"# {greeting}\n")
    site.commit(greeting)
    remote.inv(site, "build", "--push")


def listen_on(site: Site, port: int) -> None:
    """Let the next release listen on another port, which the edge does not know yet."""
    before = re.search(r"port: (\d+)", (site.root / "docker/compose.yml").read_text())
    assert before
    site.replace("docker/compose.yml", before[0], f"port: {port}")
    site.replace("app/app.py", f'("0.0.0.0", {before[1]})', f'("0.0.0.0", {port})')


def mark(site: Site, machine: Machine) -> None:
    """Make this the host on which the next release exits."""
    volume = f"{site.app}-{remote.ENV}_scratch"
    machine.sh('touch "$(docker volume inspect --format "{{.Mountpoint}}" "$1")/marked"', volume)


def word(site: Site, machine: Machine) -> str:
    """Ask the container that runs for its secret."""
    script = (
        'docker exec $(docker ps --quiet --filter name="$1") python3.11 -c \'import os; print(os.environ["WORD"])\''
    )
    return machine.sh(script, f"{site.app}-{remote.ENV}-.*-app-").strip()


def test_from_bare_hosts_to_a_resume_from_elsewhere(
    fleet: Site, hosts: Hosts, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """First deploy, one that fails on one host, one on another port, operator killed, resume from another machine, rollback.

    All under load, at several edges.
    """
    assert "inv build --push --env=staging" in remote.inv(fleet, "deploy", code=2).stderr
    release(fleet, "first")
    first = remote.inv(fleet, "deploy", "--json").document["release"]
    assert remote.served(fleet, hosts) == dict.fromkeys(hosts, first)
    with remote.under_load(fleet, hosts) as clients:
        fleet.replace(f"deploy/environments/{remote.ENV}.toml", '"well"', '"exits-where-marked"')
        release(fleet, "second, which exits on one host")
        mark(fleet, hosts["app3"])
        failed = remote.inv(fleet, "deploy", code=1).stderr
        assert "app3" in failed
        assert "told to exit at once" in failed
        assert f"release {first}" in failed.rpartition("serves:")[2]
        assert remote.served(fleet, hosts) == dict.fromkeys(hosts, first)

        fleet.replace(f"deploy/environments/{remote.ENV}.toml", '"exits-where-marked"', '"well"')
        listen_on(fleet, 8001)
        release(fleet, "third, on another port, whose operator dies")
        remote.killed(fleet, 13, "begin", "deploy")  # the canary has switched
        assert all(remote.served(fleet, hosts).values()), "every host serves before any command is typed"
        other = remote.elsewhere(fleet, tmp_path / "elsewhere")
        assert "was interrupted" in remote.inv(other, "status").stderr
        third = remote.inv(other, "resume", "--json").document["release"]
        assert remote.served(fleet, hosts) == dict.fromkeys(hosts, third)
        assert [word(fleet, machine) for machine in hosts.values()] == ["kept"] * 3, (
            "a secret that elsewhere does not have"
        )
        assert not remote.inv(fleet, "deploy", "--json").document["changed"]
        assert remote.inv(fleet, "rollback", "--json").document["release"] == first
        assert remote.served(fleet, hosts) == dict.fromkeys(hosts, first)
        reports = {name: one.report() for name, one in clients.items()}
    for name, report in reports.items():
        record_property("report", f"{name}\n{report.table()}")
        assert report.verdict == load.PASS, f"{name}: {report.reasons}\n{report.losses}\n{report.table()}"


@pytest.mark.night
def test_one_edge_with_app_hosts_behind_it(
    behind: Site, hosts: Hosts, tmp_path: Path, record_property: Callable[..., None]
) -> None:
    """First deploy, second release on another port, its operator killed after the switch, resume from elsewhere.

    All under load, as is the rollback to the port before. One that fails behind one edge is in the nights (test_bookreader.py).
    """
    front = {"app1": hosts["app1"]}
    release(behind, "first")
    given = {
        name: machine.sh(f"cat /var/lib/{behind.app}-{remote.ENV}/images/*.json") for name, machine in hosts.items()
    }
    assert {name: f"{behind.app}/edge" in record for name, record in given.items()} == {
        "app1": True,
        "app2": False,
        "app3": False,
    }
    first = remote.inv(behind, "deploy", "--json").document["release"]
    assert remote.served(behind, front) == {"app1": first}
    with remote.under_load(behind, front) as clients:
        listen_on(behind, 8001)
        release(behind, "second, whose operator dies")
        remote.killed(behind, 10, "begin", "deploy")  # the edge has switched, and the old colour runs
        other = remote.elsewhere(behind, tmp_path / "elsewhere")
        second = remote.inv(other, "resume", "--json").document["release"]
        assert remote.served(behind, front) == {"app1": second}
        assert remote.inv(behind, "rollback", "--json").document["release"] == first
        report = clients["app1"].report()
    record_property("report", report.table())
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"
