"""Every way by which a service comes to an env_file, through the real `docker compose config`; no engine is needed.

Each file of values holds a canary that must be nowhere, and none of them is what the service gets: that is the release's.
"""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from deploy.config import compose
from deploy.config.compose import Model
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.shell import command
from deploy.hosts.local import LocalHost
from deploy.release import desired
from tests.support.samples import settings

ANY = defaultdict[str, str](lambda: "sha256:x")
CANARY = "hunter2"
EDGE = "  edge: {image: e, x-deploy: {role: edge}}\n"
WEB = "image: w, x-deploy: {role: web, port: 80}"
WORKER = "  base: {image: w, env_file: web.env, x-deploy: {role: worker}}"
INCLUDED = f"services:\n  app: {{{WEB}, env_file: [web.env]}}\n"
BASE = "services:\n  base: {image: w, env_file: web.env}\n"
FILES = {
    f"{folder}{name}"
    for folder in ("", "docker/", "docker/other/", "lib/", "docker/odd/")
    for name in ("web.env", ".env", "two.env")
}

# the files of a checkout beside c.yml, whose text comes first and in which `web` must get the release's secrets
WAYS = {
    "itself": [f"  app: {{{WEB}, env_file: web.env}}"],
    "a list": [f"  app: {{{WEB}, env_file: [.env, two.env]}}"],
    "long form": [f"  app: {{{WEB}, env_file: [{{path: web.env, required: false}}, {{path: two.env}}]}}"],
    "a block": [f"  app:\n    env_file:\n    - web.env  # why\n    <<: {{{WEB}}}"],
    "a file that is not there": [f"  app: {{{WEB}, env_file: nowhere.env}}"],
    "an absolute path": [f"  app: {{{WEB}, env_file: '{{root}}/docker/web.env'}}"],
    "a path with a variable": [f"  app: {{{WEB}, env_file: '${{PART:-web}}.env'}}"],
    "an anchor": [f"  other: &other {{image: w, env_file: &files [web.env], x-deploy: {{role: job}}}}\n  app: {{<<: *other, {WEB}}}"],
    "an alias": [f"  other: {{image: w, env_file: &files [web.env], x-deploy: {{role: job}}}}\n  app: {{env_file: *files, {WEB}}}"],
    "a merge key": [f"  app: {{<<: [*low, *base], {WEB}}}"],
    "a profile": [f"  app: {{{WEB}, env_file: web.env, profiles: [rare], networks: {{default: }}}}"],
    "extends, same file": [f"  app: {{extends: base, {WEB}}}\n{WORKER}"],
    "extends, a service": [f"  app: {{extends: {{service: base}}, {WEB}}}\n{WORKER}"],
    "extends, other file": [f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}",
                            ("other/base.yml", BASE)],
    "extends, above": [f"  app: {{extends: {{file: ../lib/base.yml, service: base}}, {WEB}}}",
                       ("../lib/base.yml", BASE)],
    "extends, absolute": [f"  app: {{extends: {{file: '{{root}}/lib/base.yml', service: base}}, {WEB}}}",
                          ("../lib/base.yml", BASE)],
    "extends, a variable": [f"  app: {{extends: {{file: '${{PART:-other}}/base.yml', service: base}}, {WEB}}}",
                            ("other/base.yml", BASE)],
    "extends, by a merge key": [f"  app: {{<<: *extending, {WEB}}}", ("other/base.yml", BASE)],
    "a chain": [
        f"  app: {{extends: {{file: other/base.yml, service: mid}}, {WEB}}}",
        ("other/base.yml", "services:\n  mid: {extends: {file: ../../lib/base.yml, service: base}}\n"),
        ("../lib/base.yml", BASE),
    ],
    "a chain in one file": [
        f"  app: {{extends: {{file: other/base.yml, service: mid}}, {WEB}}}",
        ("other/base.yml", f"{BASE}  mid: {{extends: base}}\n"),
    ],
    "include": ["include: [other/inc.yml]", ("other/inc.yml", INCLUDED)],
    "include, absolute": ["include: ['{root}/docker/other/inc.yml']", ("other/inc.yml", INCLUDED)],
    "include, a folder": [
        "include: [{path: other/inc.yml, project_directory: ../lib}]",
        ("other/inc.yml", f"services:\n  app: {{{WEB}, env_file: [./web.env]}}\n"),
    ],
    "include, an absolute folder": [
        "include: [{path: other/inc.yml, project_directory: '{root}/lib'}]",
        ("other/inc.yml", f"services:\n  app: {{{WEB}, env_file: [./web.env], environment: {{A: '${{CANARY:-none}}'}}}}\n"),
    ],
    "include, values of its own": [
        "include: [{path: other/inc.yml, env_file: two.env}]",
        ("other/inc.yml", f"services:\n  app: {{{WEB}, env_file: [./web.env]}}\n"),
    ],
    "include, two files": [
        "include: [{path: [other/inc.yml, odd/over.yml]}]",
        ("other/inc.yml", f"services:\n  app: {{{WEB}}}\n"),
        ("odd/over.yml", "services:\n  app: {env_file: web.env}\n"),
    ],
    "include in include, extends": [
        "include: [other/inc.yml]", ("other/inc.yml", "include: [../odd/inc.yml]\nservices: {}\n"),
        ("odd/inc.yml", f"services:\n  app: {{extends: {{file: ../../lib/base.yml, service: base}}, {WEB}}}\n"),
        ("../lib/base.yml", BASE),
    ],
    "a second file": [f"  app: {{{WEB}}}", ("d.yml", "services:\n  app: {env_file: web.env}\n")],
    "a second file extends": [
        f"  app: {{{WEB}}}", ("d.yml", "services:\n  app: {extends: {file: other/base.yml, service: base}}\n"),
        ("other/base.yml", BASE),
    ],
    "a second file overrides": [f"  app: {{{WEB}, env_file: web.env}}",
                                ("d.yml", "services:\n  app: {env_file: !override [two.env]}\n")],
    "an own file has it": [f"  app: {{extends: {{file: c.yml, service: base}}, {WEB}}}\n{WORKER}"],
    "an include names it, too": [
        "include: [other/inc.yml, {path: odd/inc.yml, env_file: other/web.env}]", ("other/inc.yml", INCLUDED),
        ("odd/inc.yml", "services: {z: {image: w, x-deploy: {role: job}}}\n"),
    ],
    "an include of a second file names it, too": [
        f"  app: {{{WEB}, env_file: web.env}}",
        ("d.yml", "include: [{path: odd/inc.yml, env_file: web.env}]\nservices: {}\n"),
        ("odd/inc.yml", "services: {z: {image: w, x-deploy: {role: job}}}\n"),
    ],
    "overridden by one": [f"  app: {{extends: base, {WEB}, env_file: !override two.env}}\n{WORKER}"],
    "a default in a default": [f"  app: {{{WEB}, env_file: '${{A:-${{B:-web}}}}.env'}}"],
    "another value": [f"  app: {{{WEB}, env_file: 'web.env${{B:+x}}'}}"],
    "JSON": ['  app: {"image":"w","env_file":[{"path":"web.env","format":"raw"}],"x-deploy":{"role":"web","port":80}}'],
    "a variable format": [f"  app: {{{WEB}, env_file: [{{path: web.env, format: '${{F:-raw}}'}}]}}"],
    "all services merged": ["  <<: &all {app: {image: w, env_file: web.env, x-deploy: {role: web, port: 80}}}"],
    "above the checkout": ["include: [../../out/inc.yml]", ("../../out/inc.yml", INCLUDED)],
}  # fmt: skip
# what must have none
WITHOUT = {
    "nothing": [f"  app: {{{WEB}}}"],
    "an empty list": [f"  app: {{{WEB}, env_file: []}}"],
    "extends, overridden by nothing": [f"  app: {{extends: base, {WEB}, env_file: !override []}}\n{WORKER}"],
    "reset": [f"  app: {{{WEB}, env_file: web.env}}", ("d.yml", "services:\n  app: {env_file: !reset null}\n")],
    "extends, reset": [f"  app: {{extends: base, {WEB}, env_file: !reset null}}\n{WORKER}"],
    "a variable of that name": [f"  app: {{{WEB}, environment: {{env_file: web.env}}}}"],
}  # fmt: skip
ANCHORS = """
x-low: &low {restart: always}
x-base: &base {env_file: web.env}
x-extending: &extending {extends: {file: other/base.yml, service: base}}
"""


def written(root: Path, text: str, *others: tuple[str, str]) -> Model:
    """Write a checkout whose every file of values holds the canary, and read it."""
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"CANARY={CANARY}\nPART_{CANARY}={CANARY}\n")
    (root.parent / "out").mkdir(exist_ok=True)
    top, _, services = text.partition("\n") if text.startswith("include") else ("", "", text)
    beside = dict(others)
    beside["c.yml"] = f"{ANCHORS}{top}\nservices:\n{services}\n{EDGE}".replace("{root}", str(root))
    for name, content in beside.items():
        (root / "docker" / name).write_text(content)
    names = ["docker/c.yml", *(["docker/d.yml"] if "d.yml" in beside else [])]
    return compose.read(root, names, {"PLAIN": "1"}, LocalHost())


def rendered(rendered_model: Model) -> dict[str, str]:
    """Render every file of a release, those of the edge too."""
    return desired.render_all(settings(ROOT / "tests/apps/tiny"), rendered_model, ANY, "r1", "/state/r1/env")


def service(rendered_model: Model, name: str = "app") -> dict[str, Any]:
    return dict(yaml.load_rendered(rendered(rendered_model)["blue.yml"])["services"][f"{name}-blue"])


@pytest.mark.parametrize("files", WAYS.values(), ids=WAYS)
def test_a_service_gets_the_releases_secrets_by_whichever_way_it_has_an_env_file(
    tmp_path: Path, files: list[Any]
) -> None:
    found = written(tmp_path / "root", *files)
    assert service(found)["env_file"] == ["/state/r1/env"]
    for text in (repr(found), *rendered(found).values()):
        assert CANARY not in text
    assert "env_file" not in yaml.load_rendered(rendered(found)["shared.yml"])["services"]["edge"]


@pytest.mark.parametrize("files", WITHOUT.values(), ids=WITHOUT)
def test_a_service_without_an_env_file_gets_no_secrets(tmp_path: Path, files: list[Any]) -> None:
    found = written(tmp_path, *files)
    assert "env_file" not in service(found)
    assert CANARY not in repr(found)


def test_what_is_extended_and_included_is_where_it_was(tmp_path: Path) -> None:
    """Copies are resolved, and nothing shows it: relative paths are those of each file's own folder."""
    base = "services:\n  base: {image: w, build: ., volumes: ['/srv/a:/a', '../../../out:/out'], env_file: web.env}\n"
    found = written(
        tmp_path / "x", f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}", ("other/base.yml", base)
    )
    assert {mount["source"] for mount in service(found)["volumes"]} == {"/srv/a", str(tmp_path / "out")}
    assert found.web[0].spec["build"]["context"] == str(tmp_path / "x" / "docker" / "other")


@pytest.mark.parametrize(
    "text",
    [
        "0o17",
        "1e3",
        "12e45",
        "+8",
        "08",
        "08:00",
        "yes",
        "~",
        "'~'",
        "null",
        '"08"',
        "1_000",
        "0x1F",
        "=",
        "<<",
        "!!str 8",
        "|-\n        a\n        b",
    ],
)
def test_a_plain_word_is_read_by_compose_alone(tmp_path: Path, text: str) -> None:
    """Copies are word by word what was written: another reader would take some for numbers."""
    source = tmp_path / "plain.yml"
    source.write_text(f"services:\n  app:\n    image: w\n    environment:\n      A: {text}\n")
    straight = LocalHost().run(compose.config([source], Path(os.devnull), tmp_path))
    found = written(
        tmp_path, f"  app:\n    image: w\n    x-deploy: {{role: web, port: 80}}\n    environment:\n      A: {text}"
    )
    expected = yaml.load_rendered(straight)["services"]["app"].get("environment")
    assert found.web[0].spec.get("environment") == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([f"  app: {{{WEB}, env_file: .env}}"], []),
        ([f"  app: {{{WEB}, env_file: ../.env.local}}"], []),
        ([f"  app: {{{WEB}, env_file: web.env}}"],
         ["app: docker/web.env is not read, the release's secrets stand in its place"]),
        ([f"  app: {{{WEB}, env_file: 'plain-${{PLAIN}}.env'}}"], ["app: docker/plain-1.env is not read"]),
        ([f"  app: {{{WEB}, env_file: more.env}}"],
         ["MORE, OTHER are not among them: put them under environment, or into .env.local"]),
        ([f"  app: {{{WEB}, env_file: .env.more}}"], ["app: docker/.env.more is not read", "ONE are not among them"]),
        ([f"  app: {{{WEB}, env_file: [{{path: .env, required: false}}]}}"], ["required: false has no effect"]),
        ([f"  app: {{{WEB}, env_file: [{{path: .env, format: raw}}]}}"],
         ["app: docker/.env is not read", "format: raw has no effect"]),
        (
            [f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}", ("other/base.yml", BASE)],
            ["app: docker/other/web.env is not read"],
        ),
        (
            [f"  app: {{extends: {{file: other/base.yml, service: base}}, env_file: two.env, {WEB}}}",
             ("other/base.yml", BASE)],
            ["app: docker/other/web.env is not read", "app: docker/two.env is not read"],
        ),
        ([f"  app: {{<<: *base, {WEB}}}\n  x: {{<<: *base, image: w, x-deploy: {{role: job}}}}"],
         ["app: docker/web.env is not read", "x: docker/web.env is not read"]),
        ([f"  app: {{{WEB}, environment: [LOST]}}"], ["app: LOST has no value under environment"]),
        ([f"  app: {{{WEB}, environment: [CANARY], env_file: .env}}"], []),
        ([f"  app: {{{WEB}, environment: [CANARY]}}"], ["app: CANARY has no value under environment"]),
        ([f"  app: {{{WEB}, command: 'run ${{LOST}}'}}"], ["$LOST is not set, and nothing stands in its place"]),
        ([f"  app: {{{WEB}, command: 'run $$LOST ${{LOST:-1}} $PLAIN', build: {{args: {{A: $CANARY}}}}}}  # $CANARY"],
         []),
        ([f"  app: {{{WEB}, command: 'run ${{CANARY:-1}}'}}"],
         ["$CANARY has its value in docker/.env, which is not read"]),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named_and_no_value_is(tmp_path: Path, files: list[Any], expected: list[str]) -> None:
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "more.env").write_text(
        f"OTHER={CANARY}\nMORE={CANARY}\nCANARY={CANARY}\nMIIE{CANARY}==\n{CANARY}\n"
    )
    (tmp_path / "docker" / ".env.more").write_text(f"ONE={CANARY}\n")
    found = written(tmp_path, *files)
    output = "\n".join(
        compose.left_out(found, tmp_path, tmp_path / ".env.local", {"CANARY": "x", f"PART_{CANARY}": "x"})
    )
    assert bool(output) == bool(expected), output
    assert all(one in output for one in expected), output
    assert CANARY not in output


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([f"  app: {{{WEB}, command: 'run ${{CANARY}}'}}"],
         r"docker/c.yml: \$CANARY has its value in docker/.env, which is not read"),
        (
            ["include: [other/inc.yml]",
             ("other/inc.yml", f"services:\n  app: {{{WEB}, environment: {{P: $CANARY}}}}\n")],
            r"docker/other/inc.yml: \$CANARY has its value in docker/other/.env, which is not read",
        ),
        (
            [
                "include: [{path: other/inc.yml, env_file: two.env}]",
                ("other/inc.yml", f"services:\n  app: {{{WEB}, environment: {{P: '${{CANARY:-none}}'}}}}\n"),
            ],
            r"docker/other/inc.yml: \$CANARY has its value in docker/two.env, which is not read",
        ),
        ([f"  app: {{{WEB}, label_file: web.env}}"],
         "service app: label_file of docker/c.yml: its values would stand in clear"),
        (
            [
                f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}",
                ("other/base.yml", "services:\n  base: {label_file: web.env}\n"),
            ],
            "service base: label_file of docker/other/base.yml",
        ),
        ([f"  app: {{extends: {{file: other/nowhere.yml, service: base}}, {WEB}}}"],
         "docker/other/nowhere.yml cannot be read: No such"),
        (
            [f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}",
             ("other/base.yml", "services: [\n")],
            "docker/other/base.yml is not YAML",
        ),
        (
            [f"  app: {{extends: {{file: other/base.yml, service: base}}, {WEB}}}",
             ("other/base.yml", "services: {base: {imagee: w}}\n")],
            "Compose refuses the files:\n.*imagee",
        ),
        ([f"  app: {{{WEB}, env_file: [[web.env]]}}"], "Compose refuses the files:\n.*env_file"),
        ([f"  app: {{{WEB}, env_file: [{{required: false}}]}}"], "Compose refuses the files:\n"),
        (["include: [{path: []}]\n  x: {}"], "Compose refuses the files:\n"),
        ([f"  app: {{{WEB}, extends: 3}}"], "Compose refuses the files:\n"),
    ],
)  # fmt: skip
def test_what_would_run_with_other_values_is_refused_by_the_names_of_the_files(
    tmp_path: Path, files: list[Any], expected: str
) -> None:
    with pytest.raises(Refused, match=expected) as refused:
        written(tmp_path, *files)
    assert CANARY not in str(refused.value)
    assert "shadow" not in str(refused.value)


@pytest.mark.parametrize(
    "use", ["command: 'x ${DATABASE_URL:-none}'", "environment: [DATABASE_URL]", "command: 'x $DATABASE_URL'"]
)
def test_a_url_is_advised_into_git_only_where_it_holds_no_password(tmp_path: Path, use: str) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgres://u:p@db/x\n" if "command" in use else "")
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, {use}}}\n{EDGE}")
    try:
        found = compose.read(tmp_path, ["c.yml"], {}, LocalHost())
        advice = "\n".join(compose.left_out(found, tmp_path, tmp_path / ".env.local", {}))
    except Refused as refused:
        advice = str(refused)
    assert "DATABASE_URL" in advice
    assert "env_file for its service, or into [variables] where it holds no password" in advice


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        ("DB_PASSWORD: '${DB_PASSWORD:-changethis}'", True),
        ("DATABASE_URL: 'postgres://u:change-me@db/x'", True),
        ("DB_PASSWORD: password", True),
        ("FIELD: password", False),
        ("DB_PASSWORD: ''", False),
        ("HELP: 'how to changethisd'", False),
    ],
)
def test_a_placeholder_of_the_files_themselves_is_refused(tmp_path: Path, entry: str, refused: bool) -> None:
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, environment: {{{entry}}}}}\n{EDGE}")
    model = compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    with pytest.raises(Refused, match=r"web: .* is a placeholder") if refused else nullcontext():
        compose.require_chosen(model)


def test_a_home_folder_is_that_of_whoever_deploys(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, volumes: ['~/data:/data']}}\n{EDGE}")
    with pytest.raises(Refused, match="mounts ~/data of whoever deploys"):
        compose.read(tmp_path, ["c.yml"], {}, LocalHost())


def test_words_that_read_like_an_env_file_stay_as_they_are(tmp_path: Path) -> None:
    text = f"  app: {{{WEB}, environment: {{format: raw, env_file: web.env}}, labels: {{format: raw}}, command: ['format: raw']}}"
    spec = service(written(tmp_path, text))
    assert (spec["environment"]["format"], spec["environment"]["env_file"]) == ("raw", "web.env")
    assert (spec["labels"]["format"], spec["command"]) == ("raw", ["format: raw"])


def test_a_variable_without_a_value_is_not_taken_from_whoevers_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hide the secret of that name, too: an empty entry of environment wins over an env_file."""
    monkeypatch.setenv("SHELL_HAS", "it")
    found = written(tmp_path, f"  app: {{{WEB}, environment: [SHELL_HAS, CANARY, KEPT=1], env_file: .env}}")
    assert service(found)["environment"] == {"KEPT": "1", "RELEASE": "r1", "COLOUR": "blue"}


def test_all_required_variables_are_named_and_no_secret_is_advised_into_git(tmp_path: Path) -> None:
    """Compose names the first alone."""
    needed = "environment: {P: '${DB_PASSWORD:?say it}', U: '${DB_USER?}', N: '${NAME:?}'}"
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, {needed}}}\n{EDGE}")
    with pytest.raises(Refused) as refused:
        compose.read(tmp_path, ["c.yml"], {"NAME": "shop"}, LocalHost())
    lines = str(refused.value).splitlines()
    (password,) = (line for line in lines if "$DB_PASSWORD" in line)
    assert "secrets file" in password
    assert "[variables]" not in password
    (user,) = (line for line in lines if "$DB_USER" in line)
    assert "[variables]" in user
    assert not [line for line in lines if "$NAME" in line]


@pytest.mark.parametrize("name", ["HOME", "PATH", "USER", "DOCKER_CONFIG", "COMPOSE_PROFILES", "MINE"])
def test_nothing_of_the_shell_gets_into_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Two people, one commit: what an entry of `environment` or a `$NAME` would take from either is refused by name."""
    monkeypatch.setenv(name, os.environ.get(name, "of the shell") if name == "PATH" else str(tmp_path))
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, environment: [{name}]}}\n{EDGE}")
    found = compose.read(tmp_path, ["c.yml"], {}, LocalHost())
    assert next(one for one in found.services if one.name == "web").spec["environment"] == {name: None}
    for place in (f"command: 'x ${{{name}}}'", f"x-deploy: {{role: web, port: 80, smoke: [echo, '${name}']}}"):
        (tmp_path / "c.yml").write_text(
            f"services:\n  web: {{image: w, {place}{'' if 'x-deploy' in place else ', x-deploy: {role: web, port: 80}'}}}\n{EDGE}"
        )
        with pytest.raises(Refused, match=rf"\${name} is not set, and nothing stands in its place"):
            compose.require_set(compose.read(tmp_path, ["c.yml"], {}, LocalHost()))


@pytest.mark.parametrize("name", ["DOCKER_AUTH_CONFIG", "GPG_TTY", "WSL_INTEROP", "IDENTITY_ENDPOINT", "MSI_SECRET"])
def test_docker_learns_who_we_are_to_registries(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Helpers of credentials ask for these: without them a pull that worked in this shell is denied."""
    monkeypatch.setenv(name, "of the shell")
    assert LocalHost().environment(command("docker", "pull"))[name] == "of the shell"


def test_docker_gets_what_is_listed_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "COMPOSE_REMOVE_ORPHANS",
        "DOCKER_DEFAULT_PLATFORM",
        "BUILDX_BUILDER",
        "NODE_ENV",
        "HTTPS_PROXY",
        "AWS_PROFILE",
    ):
        monkeypatch.setenv(name, "of the shell")
    host = LocalHost()
    given, other = (host.environment(command(*words)) for words in (("docker", "info"), ("git", "status")))
    assert {"COMPOSE_REMOVE_ORPHANS", "DOCKER_DEFAULT_PLATFORM", "NODE_ENV"}.isdisjoint(given)
    assert (given["BUILDX_BUILDER"], given["HTTPS_PROXY"], given["AWS_PROFILE"]) == (
        "default",
        "of the shell",
        "of the shell",
    )
    assert {"PATH", "HOME"} <= given.keys()
    assert other["NODE_ENV"] == "of the shell", "programs of your own get all of it"


def test_a_secret_that_is_not_set_is_not_advised_into_a_file_that_git_keeps(tmp_path: Path) -> None:
    text = "'postgres://u:${DB_PASSWORD}@db/${NAME}'"
    (tmp_path / "c.yml").write_text(f"services:\n  web: {{{WEB}, command: {text}}}\n{EDGE}")
    with pytest.raises(Refused) as error:
        compose.require_set(compose.read(tmp_path, ["c.yml"], {}, LocalHost()))
    lines = {line.split()[0]: line for line in error.value.what.splitlines()[1:]}
    assert "[variables]" in lines["$NAME"]
    assert "[variables]" not in lines["$DB_PASSWORD"]
    assert "secrets file" in lines["$DB_PASSWORD"]
