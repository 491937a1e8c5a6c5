"""What a drill starts: exact renderings, and the decisions around it."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.backups import isolated
from deploy.backups.drill import in_time, proof
from deploy.backups.drill_images import is_of_other_schema
from deploy.core import yaml
from deploy.core.model import Schema
from deploy.site.checks import Check
from tests.support.backed_up import COMPOSE, rendered


def drilled(repository: str = "/backups/books") -> dict[str, Any]:
    """Render its drill, with one service of it as two releases have it."""
    files = rendered()
    webs = [isolated.Web(files["blue.yml"], ("backend",), which) for which in ("current", "previous")]
    document = yaml.load_rendered(isolated.render("shop-local", files["shared.yml"], webs, repository))
    assert isinstance(document, dict)
    return document


def test_data_backup_and_one_web_service_of_each_release_are_in_it_and_nothing_else() -> None:
    project = drilled()
    assert project["name"] == "0-drill-shop-local"
    assert sorted(project["services"]) == ["backend-current", "backend-previous", "backup", "postgres", "redis"]


def test_it_names_no_live_network_and_no_live_volume_but_the_one_of_the_repository() -> None:
    project = drilled()
    assert project["networks"] == {"inside": {"internal": True}}
    assert project["volumes"]["live-repository"] == {"name": "shop-local_backups", "external": True}
    own = {name: spec for name, spec in project["volumes"].items() if name != "live-repository"}
    assert own == {name: {} for name in ("postgres", "staging", "uploads", "srv-media", "srv-redis")}
    users = [name for name, spec in project["services"].items() if "live-repository" in str(spec["volumes"])]
    assert users == ["backup"]


def test_nothing_in_it_reaches_or_is_taken_for_something_of_the_live_site() -> None:
    for name, spec in drilled()["services"].items():
        assert spec["labels"] == {"bookreader-ops.drill": "shop-local"}, name
        assert spec["restart"] == "no"
        assert set(spec["networks"]) == {"inside"}
        assert spec["logging"]["driver"] == "json-file"
        outside = {
            "ports",
            "extra_hosts",
            "network_mode",
            "privileged",
            "profiles",
            "container_name",
            "deploy",
            "scale",
        }
        assert not outside & set(spec), name
        for mount in spec["volumes"]:
            assert mount["type"] != "bind" or mount["read_only"], f"{name} may write {mount['source']}"
            assert "docker.sock" not in str(mount)


def test_a_web_service_is_as_it_was_deployed_and_reaches_data_by_the_same_names() -> None:
    services = drilled()["services"]
    web = services["backend-current"]
    assert (web["image"], web["command"], web["env_file"]) == ("sha256:backend", ["serve"], ["/state/env"])
    assert web["environment"] == {"REDIS_URL": "redis://redis:6379", "RELEASE": "r", "COLOUR": "blue"}
    assert web["networks"]["inside"]["aliases"] == ["backend", "api"]
    assert services["postgres"]["networks"]["inside"]["aliases"] == ["postgres"]
    mounted = {mount["target"]: mount for mount in web["volumes"]}
    assert mounted["/etc/app.conf"] == {
        "type": "bind",
        "source": "/etc/app.conf",
        "target": "/etc/app.conf",
        "read_only": True,
    }
    assert (mounted["/media"]["type"], mounted["/uploads"]["source"]) == ("volume", "uploads")


def test_the_backup_service_reads_the_state_folder_and_fills_what_it_saves() -> None:
    mounted = {mount["target"]: mount for mount in drilled()["services"]["backup"]["volumes"]}
    assert mounted["/record"]["read_only"] is True
    assert mounted["/data/uploads"] == {
        "type": "volume",
        "source": "uploads",
        "target": "/data/uploads",
        "read_only": False,
    }
    assert mounted["/staging"]["source"] == "staging"
    assert isolated.saved_folders(rendered()["shared.yml"]) == ("/data/uploads",)


def test_only_the_backup_service_has_a_way_out_and_only_to_a_repository_elsewhere() -> None:
    project = drilled("s3:https://s3.example.org/books")
    assert project["networks"] == {"inside": {"internal": True}, "outside": {}}
    joined = {name for name, spec in project["services"].items() if "outside" in spec["networks"]}
    assert joined == {"backup"}
    assert project["volumes"]["backups"] == {}
    assert "live-repository" not in project["volumes"], "nothing holds the repository here, so nothing live is mounted"


def test_a_folder_of_the_host_that_holds_the_repository_is_mounted_as_it_is() -> None:
    files = rendered(COMPOSE.replace("{type: volume, source: backups,", "{type: bind, source: /mnt/nas,"))
    project = yaml.load_rendered(isolated.render("shop-local", files["shared.yml"], [], "/backups/books"))
    (held,) = [mount for mount in project["services"]["backup"]["volumes"] if mount["target"] == "/backups"]
    assert (held["type"], held["source"]) == ("bind", "/mnt/nas")


def test_a_folder_of_the_host_that_is_saved_is_never_written_where_it_is() -> None:
    text = COMPOSE.replace(
        "{type: volume, source: uploads, target: /data/uploads,", "{type: bind, source: /srv/up, target: /data/up,"
    )
    text = text.replace(
        "{type: volume, source: uploads, target: /uploads,",
        "{type: bind, source: /srv/up, target: /up, read_only: true,",
    )
    files = rendered(text)
    webs = [isolated.Web(files["blue.yml"], ("backend",), "current")]
    project = yaml.load_rendered(isolated.render("shop-local", files["shared.yml"], webs, "/backups/books"))
    assert "/srv/up" not in str(project)
    users = [name for name, spec in project["services"].items() if "srv-up" in str(spec["volumes"])]
    assert users == ["backend-current", "backup"], "the app reads what was restored"


def test_the_live_repository_is_seen_by_nobody_else() -> None:
    files = rendered(COMPOSE.replace("source: uploads, target: /uploads", "source: backups, target: /old"))
    webs = [isolated.Web(files["blue.yml"], ("backend",), "current")]
    project = yaml.load_rendered(isolated.render("shop-local", files["shared.yml"], webs, "/backups/books"))
    assert project["volumes"]["backups"] == {}
    assert "live-repository" not in str(project["services"]["backend-current"])


def test_data_is_reached_by_the_aliases_that_it_has() -> None:
    shared = rendered(COMPOSE.replace("{ipv4_address: 172.30.0.2}", "{aliases: [db]}"))["shared.yml"]
    assert isolated.data_names(shared) == {"postgres": "postgres", "db": "postgres", "redis": "redis"}
    project = yaml.load_rendered(isolated.render("shop-local", shared, [], "/backups/books"))
    assert project["services"]["postgres"]["networks"]["inside"]["aliases"] == ["postgres", "db"]


SCHEMA = Schema(revision="0004", serves=("0004", "0003"), release="r2")


@pytest.mark.parametrize(
    ("schema", "revision", "taken_by", "other"),
    [
        pytest.param(SCHEMA, "0004", "r1", False, id="the same revision, whoever took it"),
        pytest.param(SCHEMA, "0003", "r2", True, id="another revision"),
        pytest.param(SCHEMA, None, "r2", False, id="no revision, the same release"),
        pytest.param(None, "0003", "r1", True, id="nothing says what the live one is, and another release"),
        pytest.param(None, None, "", True, id="nobody knows who took it"),
    ],
)
def test_a_point_of_another_schema_is_migrated_first(
    schema: Schema | None, revision: str | None, taken_by: str, other: bool
) -> None:
    assert is_of_other_schema(schema, revision, taken_by, "r2") is other


def test_a_drill_past_its_budget_fails() -> None:
    assert in_time(900, 900).result == "PASS"
    late = in_time(900.1, 900)
    assert (late.result, late.closes, "backup.drill_within" in late.then) == ("FAIL", True, True)


def test_the_evidence_names_what_was_restored() -> None:
    assert proof([], Check("rows", "PASS", "3 rows in 1 tables"), 8.1).startswith("drilled in 8.1 s: 3 rows")
