"""The app's own health on a restored database: by which variables it gets there, and what of it is started. Pure."""

from __future__ import annotations

import pytest

from deploy.backups import isolated
from deploy.backups.health import naming
from deploy.core import yaml
from tests.support.backed_up import rendered


@pytest.mark.parametrize(
    ("key", "value", "renamed"),
    [
        ("DATABASE_URL", "postgresql://shop:p%2Fw@postgres:5432/shop", "postgresql://shop:p%2Fw@postgres:5432/new"),
        ("URL", "postgresql+asyncpg://u:p@h/shop?ssl=on", "postgresql+asyncpg://u:p@h/new?ssl=on"),
        ("JDBC", "jdbc:postgresql://h:5432/shop", "jdbc:postgresql://h:5432/new"),
        ("DSN", "host=h dbname=shop user=shop", "host=h dbname=new user=shop"),
        ("PGDATABASE", "shop", "new"),
        ("POSTGRES_DB", "shop", "new"),
        ("DB_NAME", "shop", "new"),
    ],
)
def test_a_variable_that_names_the_live_database_names_the_other_one(key: str, value: str, renamed: str) -> None:
    assert naming({key: value, "TZ": "UTC"}, "shop", "new") == {key: renamed}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("PGUSER", "shop"),
        ("URL", "postgresql://shop@h/shop_archive"),
        ("REDIS_URL", "redis://h/shop"),
        ("DB_HOST", "shop"),
        ("DSN", "dbname=shopping"),
    ],
)
def test_what_names_something_else_is_left_alone(key: str, value: str) -> None:
    assert naming({key: value}, "shop", "new") == {}


def test_one_web_service_is_started_that_nobody_reaches_and_that_writes_no_live_volume() -> None:
    files = rendered()
    web = isolated.Web(files["blue.yml"], ("backend",), "current")
    project = yaml.load_rendered(isolated.render_beside("shop-local", files["shared.yml"], web, {"PGDATABASE": "new"}))
    (spec,) = project["services"].values()
    assert spec["environment"] == {
        "COLOUR": "blue",
        "RELEASE": "r",
        "REDIS_URL": "redis://redis:6379",
        "PGDATABASE": "new",
    }
    assert (spec["networks"], project["networks"]) == (
        {"data": None},
        {"data": {"external": True, "name": "live-data"}},
    )
    assert not {"ports", "extra_hosts", "container_name", "privileged"} & spec.keys()
    assert all(volume == {} for volume in project["volumes"].values()), "none of them is live"
    assert not [mount for mount in spec["volumes"] if mount["type"] == "bind" and not mount.get("read_only")]


def test_with_an_address_of_the_live_database_that_cannot_be_read_nobody_is_asked() -> None:
    name = {"POSTGRES_DB": "shop"}
    slash = {"DATABASE_URL": "postgresql+psycopg://u:p/w@db:5432/shop"}
    assert naming(name | slash, "shop", "new") == {
        "POSTGRES_DB": "new",
        "DATABASE_URL": "postgresql+psycopg://u:p/w@db:5432/new",
    }
    for odd in ("postgresql://u:p?w@db/shop", "postgresql://db/shop;sslmode=require"):
        assert naming(name | {"DSN": odd}, "shop", "new") == {}
    assert naming(name | {"DSN": "postgresql://db/shop_archive"}, "shop", "new") == {"POSTGRES_DB": "new"}
