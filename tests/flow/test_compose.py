"""How compose files are read, and what is refused, through the real `docker compose config`; no engine is needed."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deploy.config import compose, secrets
from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.release import placement
from tests.support.composed import TEXT, UGLY, VARIABLES
from tests.support.samples import model


@pytest.mark.parametrize(
    ("web", "top", "message"),
    [
        ("networks: {other: }", "", "shares no network with the edge"),
        ("networks: {front: }, links: [e]", "", "shares another service's network"),
        ("network_mode: 'service:e'", "", "shares another service's network"),
        (
            "networks: {front: }, volumes: [{type: bind, source: /nowhere/code, target: /code}]",
            "",
            "web: mounts code of this checkout",
        ),
        ("networks: {front: }", "secrets: {key: {file: k}}", "top-level secrets"),
        ("network_mode: 'container:x'", "", "shares another service's network"),
        ("networks: {front: {ipv4_address: 10.0.0.2}}", "", r"networks\.front\.ipv4_address is one address"),
        ("networks: {front: }, mac_address: '02:42:ac:11:00:02'", "", "mac_address is one address"),
        ("networks: {front: }, volumes_from: [e]", "", "volumes_from names a container"),
        ("networks: {front: }, pid: 'service:e'", "", "pid: service:e names a container"),
        ("networks: {front: }, ipc: 'container:x'", "", "ipc: container:x names a container"),
    ],
)
def test_what_cannot_be_rendered_per_colour_is_refused(web: str, top: str, message: str) -> None:
    text = f"services:\n  web: {{image: redis, {web}, x-deploy: {{role: web, port: 1}}}}\n"
    text += f"  e: {{image: redis, networks: {{front: }}, x-deploy: {{role: edge}}}}\nnetworks: {{front: {{}}, other: {{}}}}\n{top}\n"
    with pytest.raises(Refused, match=message):
        model(text)


def test_what_is_there_once_may_have_a_name_and_an_address() -> None:
    text = """
      services:
        web: {image: redis, networks: {front: }, pid: host, ipc: shareable, x-deploy: {role: web, port: 1}}
        db: {image: redis, hostname: db, mac_address: "02:42:ac:11:00:02", x-deploy: {role: data},
             networks: {front: {aliases: [postgres], ipv4_address: 10.0.0.2}}}
        e: {image: redis, networks: {front: }, x-deploy: {role: edge}}
      networks: {front: {}}
    """
    assert model(text).of("data")[0].spec["hostname"] == "db"


def test_https_is_added_by_files_of_its_own_with_backups_or_without() -> None:
    names, values = load("local").compose, VARIABLES | {"EDGE_TLS_PORT": "443"}
    found = compose.read(ROOT, [*names, "docker/compose.tls.yml", "docker/compose.tls-backup.yml"], values, LocalHost())
    (backup,) = found.of("backup")
    assert "/data/certificates" in [mount["target"] for mount in backup.spec["volumes"]]
    bare = [name for name in names if "backup" not in name]
    (edge,) = compose.read(ROOT, [*bare, "docker/compose.tls.yml"], values, LocalHost()).of("edge")
    assert {port["target"] for port in edge.spec["ports"]} == {8080, 8443, 9180}


def test_wal_is_received_beside_the_backups_where_the_data_is() -> None:
    names = [*load("local").compose, "docker/compose.wal.yml"]
    found = compose.read(ROOT, names, VARIABLES, LocalHost())
    (receiver,), (backup,) = found.of("wal"), found.of("backup")
    assert ("wal", "/wal") in {(mount["source"], mount["target"]) for mount in backup.spec["volumes"]}
    assert receiver.spec["environment"]["PGHOST"] == backup.spec["environment"]["PGHOST"]
    hosts = {
        "app1": Server(address="192.0.2.1", private="10.0.0.1", roles=["app", "edge", "worker"]),
        "db1": Server(address="192.0.2.2", private="10.0.0.2", roles=["data"]),
    }
    placed = placement.place(found, hosts)
    assert [name for name in hosts if placed[name].of("wal")] == ["db1"]
    with pytest.raises(Refused, match="none has the role backup"):
        model("""
          services:
            web: {image: redis, networks: {front: }, x-deploy: {role: web, port: 1}}
            wal: {image: redis, networks: {front: }, x-deploy: {role: wal}}
            e: {image: redis, networks: {front: }, x-deploy: {role: edge}}
          networks: {front: {}}
        """)


def test_the_name_of_a_project_is_refused_where_containers_would_get_it(tmp_path: Path) -> None:
    files = "services:\n  w: {image: w, environment: {P: $NAME}, x-deploy: {role: web, port: 1}}\n"
    files += "  e: {image: e, x-deploy: {role: edge}}\n"
    for name in ("${COMPOSE_PROJECT_NAME:-x}", "$COMPOSE_PROJECT_NAME"):
        (tmp_path / "c.yml").write_text(files.replace("$NAME", f"'{name}'"))
        with pytest.raises(Refused, match="COMPOSE_PROJECT_NAME is another one for each colour"):
            compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    (tmp_path / "c.yml").write_text(files.replace("$NAME", "$$COMPOSE_PROJECT_NAME"))
    assert compose.read(tmp_path, ["c.yml"], {}, LocalHost()).web


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ("c: {image: redis, networks: {other: }, x-deploy: {role: certificates}}", "service c: shares no network"),
        (
            "c: {image: redis, networks: {front: }, x-deploy: {role: certificates}}\n"
            "  d: {image: redis, networks: {front: }, x-deploy: {role: certificates}}",
            "more than one service has the role certificates",
        ),
    ],
    ids=["on another network", "two"],
)
def test_certificates_are_kept_by_one_service_that_reaches_the_edge(others: str, message: str) -> None:
    text = f"services:\n  {others}\n  w: {{image: redis, networks: {{front: }}, x-deploy: {{role: web, port: 1}}}}\n"
    text += "  e: {image: redis, networks: {front: }, x-deploy: {role: edge}}\nnetworks: {front: {}, other: {}}\n"
    with pytest.raises(Refused, match=message):
        model(text)


@pytest.mark.parametrize(
    ("server", "extra", "refused"),
    [
        ("postgres", "", True), ("db", "", False), ("data", "", False), ("localhost", "", False),
        ("10.0.0.9", "", False), ("pg.example.com", "", False), ("old", "extra_hosts: ['old:10.0.0.9'], ", False),
        ("older", "extra_hosts: ['old:10.0.0.9'], ", True),
    ],
)  # fmt: skip
def test_a_backup_of_a_database_that_is_nowhere_is_refused_before_it_serves(
    server: str, extra: str, refused: bool
) -> None:
    on = "image: redis, networks: {front: }"
    text = f"services:\n  w: {{{on}, x-deploy: {{role: web, port: 1}}}}\n  e: {{{on}, x-deploy: {{role: edge}}}}\n"
    text += "  db: {image: redis, networks: {front: {aliases: [data]}}, x-deploy: {role: data}}\n"
    text += f"  b: {{{on}, {extra}environment: {{PGHOST: {server}}}, x-deploy: {{role: backup}}}}\n"
    text += "networks: {front: {}}\n"
    with pytest.raises(Refused, match=f"PGHOST is {server}, which is no service") if refused else nullcontext():
        model(text)


@pytest.mark.parametrize(
    ("service", "role", "message"),
    [
        ("scale: 3", "web, port: 1", 3),
        ("deploy: {replicas: 2}", "worker", 2),
        ("deploy: {replicas: 0}", "worker", 0),
        ("scale: 2", "scheduler", "2 replicas; a scheduler has 1"),
        ("scale: 0", "web, port: 1", "0 replicas; a web has 1 to 50"),
        ("scale: 51", "worker", "51 replicas; a worker has 0 to 50"),
        ("scale: 2", "data", "2 replicas; a data has 1"),
    ],
)
def test_replicas(service: str, role: str, message: int | str) -> None:
    text = f"services:\n  it: {{image: redis, {service}, networks: {{front: }}, x-deploy: {{role: {role}}}}}\n"
    text += "  w: {image: redis, networks: {front: }, x-deploy: {role: web, port: 1}}\n"
    text += "  e: {image: redis, networks: {front: }, x-deploy: {role: edge}}\nnetworks: {front: {}}\n"
    if isinstance(message, str):
        with pytest.raises(Refused, match=f"service it: {message}"):
            model(text)
    else:
        assert next(s for s in model(text).services if s.name == "it").replicas == message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("port: 0", "greater than 0"),
        ("port: 65536", "less than 65536"),
        ("health: up", "begin with /"),
        ("version: v", "begin with /"),
    ],
)
def test_where_a_service_is_asked_must_be_a_port_and_a_path(key: str, message: str) -> None:
    with pytest.raises(Refused, match=f"service w: x-deploy.{key.partition(':')[0]}: i.*{message}"):
        model(f"services: {{w: {{image: redis, x-deploy: {{role: web, {key}}}}}}}")


def test_plain_words_are_what_compose_takes_them_for(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(
        "services:\n  w: {image: w, environment: {A: yes, B: 12:30, C: off, D: 010, E: true, F: =}, x-deploy: {role: web, port: 1}}\n"
        "  e: {image: e, x-deploy: {role: edge}}\n"
    )
    spec = compose.read(tmp_path, ["c.yml"], {}, LocalHost()).web[0].spec
    assert spec["environment"] == {"A": "yes", "B": "12:30", "C": "off", "D": "8", "E": "true", "F": "="}


@examples(max_examples=12)
@given(st.lists(st.one_of(TEXT, UGLY), min_size=20, max_size=20))
def test_compose_reads_back_every_secret_to_the_letter(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("env")
    values = {
        f"KEY_{number}": value
        for number, value in enumerate([*chosen, "s3cr$et#1", "a\\", "'", '"', "\\n", "\n", "${X:-y}"])
    }
    LocalHost().write(folder / "env", secrets.render(values), mode=0o600)
    (folder / "c.yml").write_text(yaml.dump({"services": {"a": {"image": "x", "env_file": [str(folder / "env")]}}}))
    words = [
        "--project-name",
        "p",
        "--file",
        str(folder / "c.yml"),
        "--env-file",
        "/dev/null",
        "config",
        "--format",
        "json",
    ]
    environment = json.loads(LocalHost().run(docker("compose", *words)))["services"]["a"]["environment"]
    assert {key: value.replace("$$", "$") for key, value in environment.items()} == values


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-8"])
def test_a_byte_order_mark_is_no_part_of_a_compose_file(tmp_path: Path, encoding: str) -> None:
    text = "services: {w: {image: w, x-deploy: {role: web, port: 1}}, e: {image: \u00e9, x-deploy: {role: edge}}}\n"
    (tmp_path / "c.yml").write_text(text, encoding=encoding)
    assert compose.read(tmp_path, ["c.yml"], {}, LocalHost()).of("edge")[0].image == "\u00e9"


def test_a_compose_file_that_is_not_utf_8_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_bytes("services:\n  w: {image: w}  # caf\u00e9\n".encode("latin-1"))
    with pytest.raises(Refused, match=r"^c\.yml is not UTF-8, line 2") as raised:
        compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    assert (raised.value.where, raised.value.then) == ("c.yml", "save c.yml as UTF-8")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{role: web, port: 1, drain: quiet}", 'x-deploy.drain: it must be a list, as in ["a", "b"]'),
        ("{role: web, port: 1, drain: [1]}", 'x-deploy.drain.0: it must be a text, as in "a"'),
        ("{role: web, port: http}", "x-deploy.port: it must be a whole number, as in 3"),
        ("{role: wep, port: 1}", "x-deploy.role: it must be 'web', 'worker'"),
        ("web", "x-deploy: it must be a section of keys and values"),
    ],
)
def test_a_mistake_in_a_block_is_named_in_the_words_of_yaml(block: str, message: str) -> None:
    with pytest.raises(Refused) as raised:
        model(f"services: {{w: {{image: redis, x-deploy: {block}}}}}")
    assert f"service w: {message}" in str(raised.value)


def test_what_compose_prints_and_nobody_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(
        'services: {w: {image: w, environment: {A: "\\t\\n"}, x-deploy: {role: web, port: 1}}}\n'
    )
    with pytest.raises(Refused, match="Compose prints what it cannot read: found a tab character"):
        compose.read(tmp_path, ["c.yml"], {}, LocalHost())
