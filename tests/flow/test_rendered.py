"""What compose files are rendered to, per colour and shared, through the real `docker compose config`; no engine."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deploy.config import compose
from deploy.config.compose import Model
from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.model import BLOCK, MADE_OF, block_of
from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.release import placement, render
from deploy.rollout.shared import read as read_shared
from tests.support.composed import TEXT, UGLY, VARIABLES
from tests.support.samples import model

ANY = defaultdict[str, str](lambda: "sha256:x")  # image -> id
APP = ("backend", "worker", "beat", "frontend")
# what a reader takes for a number, a time, a boolean or nothing
TRAPS = (
    "0891", "08", "1659280117e7", "1e999", "0o17", "+08", "1_000", "._", "22:22", "2001-01-01", "yes", "off",
    "~", "null", "", "=", "<<",
    "true", ".inf", "a: b", "a #b", "*a", "!reset", "\ufeff$X", "a\nb\n", "\x85", "$", "$$", "${X:-y}",
)  # fmt: skip


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Our own model, read where an env_file lies beside the compose files and the shell has variables of its own."""
    files = load("local").compose
    root = tmp_path_factory.mktemp("checkout")
    (root / "docker").mkdir()
    for file in files:
        (root / file).write_text((ROOT / file).read_text())
    (root / "docker" / ".env").write_text("POSTGRES_PASSWORD=hunter2\nDEBUG_ENDPOINTS=hunter2\nEDGE_PORT=1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_PORT", "2")
        patch.setenv("COMPOSE_PROFILES", "none")
        return compose.read(root, files, VARIABLES, LocalHost())


def colour(rendered_model: Model, name: str = "blue") -> dict[str, Any]:
    return dict(
        yaml.load_rendered(render.per_colour(rendered_model, "shop-local", name, "r1", ANY, "/state/r1/$x/env", "shop"))
    )


def shared(rendered_model: Model, env_file: str = "/env", secrets: str = "s1") -> dict[str, Any]:
    return dict(yaml.load_rendered(render.shared(rendered_model, "shop-local", ANY, env_file, secrets, "shop")))


def test_our_data_can_be_on_a_host_of_its_own(ours: Model) -> None:
    servers = {
        "app1": Server(address="192.0.2.1", roles=["edge", "app", "worker"]),
        "data": Server(address="192.0.2.2", roles=["data"], private="10.0.0.9"),
    }
    own = shared(placement.place(ours, servers)["data"])["services"]
    assert {name: own[name]["ports"] for name in ("postgres", "redis")} == {
        "postgres": ["10.0.0.9:5432:5432"], "redis": ["10.0.0.9:6379:6379"],
    }  # fmt: skip


def test_the_servers_that_are_documented_can_be_had(ours: Model, tmp_path: Path) -> None:
    blocks = re.findall(r"(?s)```toml\n(.*?)```", (ROOT / "docs/how-to/servers.md").read_text())
    blocks = [block for block in blocks if "[hosts." in block]
    basis, behind = blocks[0].partition("[hosts.")[0], blocks[1]
    folder = tmp_path / "deploy" / "environments"
    folder.mkdir(parents=True)
    (tmp_path / "deploy" / "app.toml").write_text((ROOT / "deploy" / "app.toml").read_text())
    for name, text in {"prod": blocks[0], "front": basis + behind}.items():
        (folder / f"{name}.toml").write_text(text)
    assert "app2" in placement.place(ours, load("prod", tmp_path).hosts)
    assert "front" in placement.place(ours, load("front", tmp_path).hosts)


def test_every_service_has_its_role(ours: Model) -> None:
    assert {service.name: service.role for service in ours.services} == {
        "backend": "web", "worker": "worker", "beat": "scheduler", "frontend": "job", "postgres": "data",
        "redis": "data", "edge": "edge", "backup": "backup", "notify": "notify",
    }  # fmt: skip
    assert [s.name for s in ours.services if s.has_secrets] == ["backend", "backup", "beat", "postgres", "worker"]
    assert [s.name for s in ours.services if s.deploy.migrate] == ["backend"]


def test_no_secret_is_in_the_model_or_in_what_is_rendered(ours: Model) -> None:
    for found in (ours, colour(ours), shared(ours)):
        assert "hunter2" not in repr(found)
        assert "PASSWORD" not in repr(found)


def test_the_shell_and_files_nearby_say_nothing(ours: Model) -> None:
    assert ours.of("edge")[0].spec["ports"][0]["published"] == "8080"


def test_a_dollar_survives(ours: Model, tmp_path: Path) -> None:
    rendered = tmp_path / "blue.yml"
    document = yaml.dump_rendered({**colour(ours), "volumes": {}}).replace("/state/r1/$$x/env", "/dev/null")
    rendered.write_text(document.replace('source: "site"', 'source: "/x"').replace('type: "volume"', 'type: "bind"'))
    read = LocalHost().run(
        docker("compose", "--file", str(rendered), "--env-file", "/dev/null", "config", "--format", "json")
    )
    environment = json.loads(read)["services"]["backend-blue"]["environment"]
    assert environment["DEBUG_ENDPOINTS"].replace("$$", "$") == VARIABLES["DEBUG_ENDPOINTS"]
    assert colour(ours)["services"]["backend-blue"]["env_file"] == ["/state/r1/$x/env"]


@pytest.mark.parametrize("service", APP)
def test_a_service_of_a_colour(ours: Model, service: str) -> None:
    spec = colour(ours)["services"][f"{service}-blue"]
    assert not {"build", "ports", "container_name", "depends_on", "x-deploy"} & set(spec)
    assert spec["image"].startswith("sha256:")
    assert spec["pull_policy"] == "never"
    role = next(found.role for found in ours.services if found.name == service)
    assert spec["labels"] == {
        "bookreader-ops": "shop-local", "bookreader-ops.app": "shop", "bookreader-ops.service": service,
        "bookreader-ops.role": role, "bookreader-ops.colour": "blue", "bookreader-ops.release": "r1",
        BLOCK: spec["labels"][BLOCK],
    }  # fmt: skip
    block = next(found.deploy for found in ours.services if found.name == service)
    assert block_of(spec["labels"][BLOCK]) == block, "as Compose writes it onto the container"
    assert (spec["environment"]["RELEASE"], spec["environment"]["COLOUR"]) == ("r1", "blue")
    aliases = {name: value for name, value in spec.get("networks", {}).items() if value}
    assert aliases == ({} if service == "frontend" else {"colour": {"aliases": [service]}}), (
        "the plain name is the colour's own"
    )


@pytest.mark.parametrize("service", [*APP, "postgres", "redis", "edge"])
def test_every_container_is_bounded_and_cannot_change_itself(ours: Model, service: str) -> None:
    spec = next(found.spec for found in ours.services if found.name == service)
    assert spec["read_only"] is True
    assert spec["cap_drop"] == ["ALL"]
    assert spec["security_opt"] == ["no-new-privileges:true"]
    assert spec["user"].split(":")[0] not in ("", "0", "root")
    assert int(spec["mem_limit"]) > 0
    assert spec["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
    assert spec["restart"] == ("no" if service == "frontend" else "unless-stopped")
    assert service == "frontend" or (spec["cpus"] and spec["healthcheck"]["timeout"])


def test_what_colours_share_is_external(ours: Model) -> None:
    document = colour(ours, "green")
    assert document["name"] == "shop-local-green"
    private = document["networks"].pop("colour")
    assert private == {"name": "shop-local-green"}
    for kind in ("networks", "volumes"):
        assert document[kind]
        assert all(value == {"name": f"shop-local_{name}", "external": True} for name, value in document[kind].items())


def test_the_edge_cannot_reach_the_data(ours: Model) -> None:
    document = shared(ours)
    own = {name: spec for name, spec in document["services"].items() if name not in (render.HOLDER, "notify")}
    networks = {name: set(spec["networks"]) for name, spec in own.items()}
    assert document["services"]["notify"]["network_mode"] == "bridge"
    assert networks == {"edge": {"edge"}, "postgres": {"data"}, "redis": {"data"}, "backup": {"data"}}
    assert "edge" not in colour(ours)["services"]["worker-blue"]["networks"]
    assert [name for name, spec in document["services"].items() if spec.get("ports")] == ["edge"]
    assert "env_file" not in document["services"]["edge"]


def test_a_shared_service_is_made_of_what_is_declared_whatever_the_release(ours: Model) -> None:
    """The folder of a release is no drift; an image and, where they are used, secrets are."""

    def made_of(**more: str) -> dict[str, str]:
        services = {name: spec for name, spec in shared(ours, **more)["services"].items() if name != render.HOLDER}
        return {name: spec["labels"][MADE_OF] for name, spec in services.items()}

    assert made_of(env_file="/releases/r2/env") == made_of()
    before, after = made_of(), made_of(secrets="s2")
    assert {name for name in before if before[name] != after[name]} - {"backup"} == {
        service.name for service in ours.of("data") if service.has_secrets
    }


def test_colours_differ_by_name_only(ours: Model) -> None:
    blue, green = (render.per_colour(ours, "a", name, "r", ANY, "/env", "a") for name in ("blue", "green"))
    assert blue != green
    assert blue.replace("blue", "green") == green


def test_only_this_projects_fields_are_dropped() -> None:
    text = """
      services:
        web: {image: redis, build: ., ports: ["1:1"], container_name: x, depends_on: [e], profiles: [p], command: [a],
              networks: {default: },
              x-deploy: {role: web, port: 1}}
        e: {image: redis, networks: {default: }, x-deploy: {role: edge}}
      networks: {default: {}}
    """
    spec = colour(model(text))["services"]["web-blue"]
    assert set(spec) == {"image", "command", "labels", "networks", "environment", "pull_policy"}


def test_what_only_colours_use_is_created_once_and_a_chosen_name_is_kept() -> None:
    text = """
      services:
        web: {image: redis, networks: {inner: , front: }, volumes: [{type: volume, source: uploads, target: /u}],
              x-deploy: {role: web, port: 1}}
        e: {image: redis, networks: {front: }, x-deploy: {role: edge}}
      networks: {front: {name: read_front}, inner: {name: read_inner, internal: true}}
      volumes: {uploads: {name: books}}
    """
    found = model(text)
    assert render.resource_names(found, "shop-local") == ["shop-local_front", "shop-local_inner", "books"]
    project, own = shared(found), colour(found)
    holder = project["services"][render.HOLDER]
    assert (holder["networks"], holder["volumes"]) == (["front", "inner"], ["uploads:/held/uploads"])
    assert project["networks"]["inner"] == {"internal": True, "name": "shop-local_inner"}
    assert own["volumes"] == {"uploads": {"external": True, "name": "books"}}
    assert own["networks"]["inner"] == {"external": True, "name": "shop-local_inner"}


def test_an_alias_is_a_name_inside_the_colour_alone_and_a_hostname_says_which() -> None:
    text = """
      services:
        web: {image: redis, hostname: www, networks: {front: {aliases: [api, web], priority: 1}},
              x-deploy: {role: web, port: 1}}
        e: {image: redis, networks: {front: }, x-deploy: {role: edge}}
      networks: {front: {}}
    """
    spec = colour(model(text))["services"]["web-blue"]
    assert spec["hostname"] == "www-blue"
    assert spec["networks"] == {"front": {"priority": 1}, "colour": {"aliases": ["web", "api"]}}


@pytest.mark.parametrize("name", ["${COMPOSE_PROJECT_NAME}_pg", "${COMPOSE_PROJECT_NAME:-shop}_pg"])
def test_the_name_that_a_volume_has_anyway_may_be_written(tmp_path: Path, name: str) -> None:
    """To call it otherwise, as messages would advise, is another volume, which is empty."""
    files = (
        "services:\n  w: {image: redis, x-deploy: {role: web, port: 1}}\n  e: {image: redis, x-deploy: {role: edge}}\n"
    )
    files += "  d: {image: redis, volumes: ['pg:/x'], x-deploy: {role: data}}\n"
    (tmp_path / "c.yml").write_text(f"{files}volumes:\n  pg: {{name: '{name}'}}\n")
    assert shared(compose.read(tmp_path, ["c.yml"], {}, LocalHost()))["volumes"]["pg"]["name"] == "shop-local_pg"
    (tmp_path / "c.yml").write_text(f"{files}volumes:\n  pg: {{name: '{name}2'}}\n")
    with pytest.raises(Refused, match="COMPOSE_PROJECT_NAME is another one"):
        compose.read(tmp_path, ["c.yml"], {}, LocalHost())


def test_a_dollar_in_x_deploy_is_one_wherever_it_is_read(tmp_path: Path) -> None:
    """Compose doubles it in what it prints, and halves it in the label that it makes of what is rendered."""
    words = '["sh", "-c", "echo $$HOME $${x}"]'
    app, edge = f"{{role: web, port: 80, drain: {words}}}", "{role: edge}"
    (tmp_path / "c.yml").write_text(
        f"services: {{app: {{image: app, x-deploy: {app}}}, edge: {{image: edge, x-deploy: {edge}}}}}\n"
    )
    found = compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    block = found.web[0].deploy
    assert block.drain == ("sh", "-c", "echo $HOME ${x}")
    file = tmp_path / "blue.yml"
    file.write_text(render.per_colour(found, "shop-local", "blue", "r1", ANY, "/env", "shop"))
    shown = LocalHost().run(docker("compose", "--file", str(file), "config", "--format", "json", "--no-interpolate"))
    assert json.loads(shown)["services"]["app-blue"]["labels"][BLOCK].count("$$") == 2
    shown = LocalHost().run(docker("compose", "--file", str(file), "config", "--format", "json"))
    assert block_of(json.loads(shown)["services"]["app-blue"]["labels"][BLOCK].replace("$$", "$")) == block


@examples(max_examples=12)
@given(st.lists(st.one_of(TEXT, UGLY, st.from_regex(r"[-+.0-9eE_:xob]{1,9}\Z")), min_size=20, max_size=20))
def test_a_text_is_the_same_from_the_compose_file_to_the_container(
    tmp_path_factory: pytest.TempPathFactory, chosen: list[str]
) -> None:
    """Compose reads the file, we read Compose, and Compose reads what we have written: a PIN of "0891" was 891 then."""
    root = tmp_path_factory.mktemp("texts")
    # Compose 2.26 drops the line break that a text begins with, and prints one that begins with a tab unreadably
    values = {f"KEY_{number}": value.lstrip("\n\t\x85\u2028\u2029") for number, value in enumerate([*chosen, *TRAPS])}
    labels = {name: "x" for name in TRAPS if name and "=" not in name}
    spec = {"image": "w", "environment": values, "labels": {**labels, **values}}
    services = {
        "w": {**spec, "x-deploy": {"role": "web", "port": 1, "drain": [*values.values()]}},
        "e": {"image": "e", "x-deploy": {"role": "edge"}},
    }
    (root / "c.yml").write_text(yaml.dump_rendered({"services": services}))
    found = compose.read(root, ["c.yml"], {}, LocalHost())
    assert found.web[0].spec["environment"] == values
    assert found.web[0].deploy.drain == (*values.values(),)
    (root / "blue.yml").write_text(render.per_colour(found, "shop-local", "blue", "r1", ANY, "/env", "shop"))
    words = [
        "--project-name",
        "p",
        "--file",
        str(root / "blue.yml"),
        "--env-file",
        "/dev/null",
        "config",
        "--format",
        "json",
    ]
    shown = json.loads(LocalHost().run(docker("compose", *words)).replace("$$", "$"))["services"]["w-blue"]
    assert found.web[0].spec["labels"] == {**labels, **values}
    assert {name: shown["environment"][name] for name in values} == values
    assert {name: shown["labels"][name] for name in {**labels, **values}} == {**labels, **values}
    assert block_of(shown["labels"][BLOCK]) == found.web[0].deploy


def test_a_bind_mount_with_a_dollar_is_the_folder_of_that_name(tmp_path: Path) -> None:
    """What the engine says of a container's mounts is compared with it."""
    edge = "e: {image: e, volumes: ['/srv/a$$b:/a'], x-deploy: {role: edge}}"
    text = f"services: {{w: {{image: w, x-deploy: {{role: web, port: 1}}}}, {edge}}}\n"
    (tmp_path / "c.yml").write_text(text)
    found = compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    file = render.shared(found, "shop-local", ANY, "/env", "s", "shop")
    assert "/srv/a$$b" in file
    assert list(read_shared(file)["e"].mounts) == [("/srv/a$b", "/a")]
