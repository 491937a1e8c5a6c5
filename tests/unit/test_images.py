"""What buildx is asked and what its answers mean; bases, budgets."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.config.checkout import Checkout
from deploy.config.settings import ROOT
from deploy.core.errors import CommandFailed, GateClosed, Refused
from deploy.core.shell import Command, Result
from deploy.hosts.engine import Engine
from deploy.hosts.local import LocalHost
from deploy.images import bake, bases, build, tags
from tests.support.samples import settings

PROGRESS = (Path(__file__).parent / "progress.rawjson").read_text()
TARGETS = (bake.Target("backend", "app/backend", 200), bake.Target("edge", "app/edge"))
CACHED = {
    "type=gha": "type=gha,scope=backend",
    "type=local,dest=/cache": "type=local,dest=/cache/backend",
    "type=registry,ref=host/app:cache": "type=registry,ref=host/app:cache-backend",
}
BASES = """[nginx]
public = "nginx:1.30"
suite = "testing"
variant = "extract"
packages = ["nginx", "dash"]

[python]
public = "python:3.11"
digest = "sha256:old"
suite = "bookworm"
variant = "minbase"
packages = ["python3.11"]
"""


ALL = ("nginx", "php", "python")


class Resolver(LocalHost):
    """A host whose registry answers with a digest, or hangs."""

    def __init__(self, answers: bool = True) -> None:
        self.answers = answers

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if not self.answers:
            raise CommandFailed("docker", 124, "no end", "here")
        return Result(0, json.dumps({"digest": f"sha256:{command.argv[4]}"}), "")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with bases of its own."""
    monkeypatch.setattr(bases, "CUSTOMIZE", tmp_path / "docker" / "base" / "customize.sh")
    monkeypatch.setattr(bases, "ROOT", tmp_path)
    for name in ("nginx", "python"):
        (tmp_path / "docker" / "base" / name).mkdir(parents=True)
    (tmp_path / "docker" / "bases.toml").write_text(BASES)
    (tmp_path / "docker" / "base" / "customize.sh").write_text("clean")
    (tmp_path / "docker" / "base" / "nginx" / "customize.sh").write_text("own")
    return tmp_path


def test_one_bake_builds_all() -> None:
    words = bake.arguments("b.hcl", TARGETS, {"python": "base:1"}, "/meta")
    assert words == (
        "docker", "buildx", "bake", "--file", "b.hcl", "--load", "--provenance=false", "--progress=rawjson",
        "--metadata-file", "/meta", "--set=*.contexts.python=docker-image://base:1",
        "--set=backend.labels.bookreader-ops.image=app/backend", "--set=edge.labels.bookreader-ops.image=app/edge",
    )  # fmt: skip


@pytest.mark.parametrize(("place", "own"), CACHED.items())
def test_each_image_has_a_cache_of_its_own_and_a_full_cache_fails_no_build(place: str, own: str) -> None:
    words = bake.arguments("b.hcl", TARGETS, {}, "/meta", cache_from=[place], cache_to=[place])
    assert f"--set=backend.cache-from={own}" in words
    assert f"--set=backend.cache-to={own},mode=max,ignore-error=true" in words
    assert sum("cache-to" in word for word in words) == len({word for word in words if "cache-to" in word}) == 2


def test_targets_are_those_with_a_name_for_their_image() -> None:
    backend = {
        "tags": ["app/backend", "app/backend:x"], "context": "backend", "dockerfile": "../docker/b.Dockerfile",
        "args": {"A": "1", "B": None}, "contexts": {"scripts": "docker"},
    }  # fmt: skip
    printed = json.dumps({"target": {"common": {}, "backend": backend}})
    assert bake.targets(printed, {"backend": 200}) == (
        bake.Target("backend", "app/backend", 200, "docker/b.Dockerfile", {"A": "1"}, ("scripts",)),
    )
    inline = json.dumps({"target": {"a": {"tags": ["a"], "dockerfile-inline": "FROM nginx"}}})
    assert bake.targets(inline, {})[0].dockerfile == ""


def test_steps_are_counted_by_target() -> None:
    assert bake.cached_steps(PROGRESS, "backend") == (3, 3)
    assert bake.cached_steps(PROGRESS, "worker") == (0, 2)
    assert bake.cached_steps(PROGRESS.replace("[worker ", "[backend-x "), "backend") == (3, 3)


def test_the_error_is_step_output_and_reason() -> None:
    step, printed, reason = bake.error_of(PROGRESS, "").splitlines()
    assert step == "[worker 2/3] RUN echo out; echo boom >&2; exit 3"
    assert "/bin/sh: no such file" in printed
    assert "exit code: 1" in reason
    for progress in ("", '{\n  "vertexes": []\n}\n'):
        output = f"first\n{progress}ERROR: no such file b.hcl\n"
        assert bake.error_of(output, output) == "first\nERROR: no such file b.hcl"


def test_layers_of_every_commit_have_one_time() -> None:
    source = Checkout("c" * 40, "2026-01-01T00:00:00Z", "d" * 64)
    output = build.variables(settings(), source)
    assert (output["SOURCE_DATE_EPOCH"], output["CREATED"]) == (bake.LAYER_TIME, source.time)
    assert output["VERSION"] == "cccccccccccc-dirty-dddddd"


def test_an_image_is_what_its_own_build_made_whoever_took_its_name_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Taken(LocalHost):
        def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
            return Result(0, "sha256:another" if "inspect" in command.argv else "", "")

    monkeypatch.setattr(Engine, "layers", lambda _, image: Counter({image: 1}))
    image = build.describe(TARGETS[0], {"containerimage.digest": "sha256:mine"}, PROGRESS, Taken())
    assert (image.digest, [*image.layers]) == ("sha256:mine", ["sha256:mine"])
    assert build.resolve(["app/backend", "redis"], [image], Taken()) == {
        "app/backend": "sha256:mine",
        "redis": "sha256:another",
    }


def layers(**sizes: int) -> Counter[str]:
    return Counter({name: size * build.MEGABYTE for name, size in sizes.items()})


def test_growth_is_named_largest_first() -> None:
    now, before = layers(base=80, pip=90, app=3, tools=5), layers(base=80, pip=60, app=2)
    assert build.grown(now, before) == ["  +30.0 MB  pip", "  +5.0 MB  tools", "  +1.0 MB  app"]
    assert build.grown(now, Counter()) == ["  +90.0 MB  pip", "  +80.0 MB  base", "  +5.0 MB  tools"]
    assert build.grown(before, before) == []


def test_an_image_over_its_budget_closes_the_gate_and_names_what_grew() -> None:
    def image(name: str, size: int) -> build.Image:
        return build.Image(name, "sha256:m", "sha256:c", layers(pip=size), 0, 1)

    build.enforce_budget(TARGETS, [image("app/backend", 200), image("app/edge", 900)], {})
    with pytest.raises(GateClosed, match=r"(?s)app/backend: 201 MB.*200 MB.*\+50.0 MB  pip"):
        build.enforce_budget(TARGETS, [image("app/backend", 201)], {"app/backend": layers(pip=151)})


def test_the_bases_that_an_app_asks_for(checkout: Path) -> None:
    wanted = settings(checkout)
    (checkout / "docker" / "a.Dockerfile").write_text("FROM python-build AS one\nFROM nginx\n")
    assert build.contexts(wanted) == ["nginx"]
    (checkout / "c.yml").write_text("image: ${BASE_PYTHON:?set by inv}\n")
    assert build.contexts(wanted) == ["nginx", "python"]


def test_a_comment_in_another_encoding_is_no_reason_not_to_build(checkout: Path) -> None:
    (checkout / "docker" / "a.Dockerfile").write_bytes("# caf\u00e9\nFROM nginx\n".encode("latin-1"))
    assert build.contexts(settings(checkout)) == ["nginx"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("FROM nginx", True),
        ('FROM "nginx"', True),
        ("ARG ONE=1 BASE='nginx'\nFROM $BASE", True),
        ("FROM ${BASE-nginx}", True),
        ("ONBUILD COPY --from=nginx a b", True),
        ('FROM a\nRUN --mount=type=bind,"from=nginx",target=/a true', True),
        ("from  nginx AS web", True),
        ("FROM --platform=$BUILDPLATFORM nginx as web", True),
        ("\tFROM nginx", True),
        ("FROM nginx:1.30", False),
        ("FROM nginx-debug", False),
        ("# FROM nginx", False),
        ("COPY --from nginx", False),
        ("COPY --from=nginx /a /b", True),
        ("copy --chown=1:1 --from=nginx /a /b", True),
        ("COPY \\\n  # why\n  --from=nginx \\\n  /a /b", True),
        ("RUN --mount=type=bind,from=nginx,target=/n --mount=type=cache,target=/c make", True),
        ("RUN --mount=from=nginx,target=/n make", True),
        ("RUN --mount=type=cache,target=/c --mount=target=/n,from=nginx make", True),
        ("RUN make --mount=from=nginx", False),
        ("RUN <<END\nCOPY --from=nginx /a /b\nEND", False),
        ("# COPY --from=nginx /a /b", False),
        ("FROM python AS nginx\nCOPY --from=nginx /a /b", False),
        ("ARG WEB=nginx\nFROM ${WEB}", True),
        ("FROM ${WEB:-nginx}", True),
        ("FROM $WEB", False),
    ],
)
def test_a_dockerfile_names_a_base_in_any_way_that_docker_reads(checkout: Path, line: str, named: bool) -> None:
    (checkout / "docker" / "a.Dockerfile").write_text(f"ARG X\n{line}\nRUN x\n")
    assert ("nginx" in build.contexts(settings(checkout))) is named


def test_what_is_neither_a_base_nor_pinned_is_named(checkout: Path) -> None:
    """Stages, contexts of the bake file and what is named by digest are not.

    An argument is what the bake file gives.
    """
    (checkout / "docker" / "a.Dockerfile").write_text(
        "ARG TAG=7\nFROM python AS One\nFROM redis:$TAG\nCOPY --from=ghcr.io/a/uv:1 /uv /\nCOPY --from=one /a /b\n"
        f"COPY --from=0 /a /b\nCOPY --from=scripts /a /b\nRUN --mount=from=b@sha256:{'1' * 64},target=/b x\nFROM $B\n"
    )
    target = bake.Target("a", "app/a", None, "docker/a.Dockerfile", {"TAG": "8"}, ("scripts",))
    inline = bake.Target("b", "app/b")
    assert build.unpinned(settings(checkout), [target, inline]) == [
        f"{image} (docker/a.Dockerfile)" for image in ("$B", "ghcr.io/a/uv:1", "redis:8")
    ]


def test_the_image_after_a_byte_order_mark_is_read_as_buildkit_reads_it(checkout: Path) -> None:
    (checkout / "docker" / "a.Dockerfile").write_text("FROM redis:8\r\n", encoding="utf-8-sig")
    target = bake.Target("a", "app/a", None, "docker/a.Dockerfile")
    assert build.unpinned(settings(checkout), [target]) == ["redis:8 (docker/a.Dockerfile)"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("# syntax=docker/dockerfile:1\nFROM nginx\n", "docker/dockerfile:1"),
        ("#!/usr/bin/env x\n#escape=\\\n # SYNTAX = docker/dockerfile:1 --more\nFROM nginx\n", "docker/dockerfile:1"),
        ("\ufeff#syntax=nginx\r\nFROM nginx\n", "nginx"),
        (f"# syntax=docker/dockerfile:1@sha256:{'1' * 64}\nFROM nginx\n", ""),
        ("# a comment\n# syntax=docker/dockerfile:1\nFROM nginx\n", ""),
        ("\n# syntax=docker/dockerfile:1\nFROM nginx\n", ""),
        ("FROM nginx\n# syntax=docker/dockerfile:1\n", ""),
    ],
)
def test_the_image_that_reads_a_dockerfile_is_named_unless_it_is_pinned(checkout: Path, text: str, named: str) -> None:
    """A base of this name does not take its place; a directive ends where BuildKit ends them."""
    (checkout / "docker" / "a.Dockerfile").write_text(text, encoding="utf-8")
    target = bake.Target("a", "app/a", None, "docker/a.Dockerfile")
    assert build.unpinned(settings(checkout), [target]) == ([f"{named} (docker/a.Dockerfile)"] if named else [])
    by_argument = replace(target, arguments={"BUILDKIT_SYNTAX": "own/syntax:2"})
    assert build.unpinned(settings(checkout), [by_argument]) == ["own/syntax:2 (docker/a.Dockerfile)"]


def test_bake_sees_no_variable_of_the_shell_but_what_inv_sets(checkout: Path) -> None:
    own = settings(checkout)
    (checkout / own.bake).parent.mkdir(exist_ok=True)
    (checkout / own.bake).write_text(
        'variable "NODE_ENV" { default = "production" }\nvariable "VERSION" {}\n  variable OTHER {}\n# NODE_ENV\n'
    )
    assert build.declared(own) == ["NODE_ENV", "VERSION", "OTHER"]
    act = bake.without({*build.declared(own)} - {"VERSION"}, bake.print_targets("b"))
    assert act.argv[:4] == ("env", "--unset=NODE_ENV", "--unset=OTHER", "docker")
    assert bake.without([], act) == act


def test_our_own_images_ask_for_bases_that_are_described() -> None:
    found = bases.read(ROOT)
    assert set(build.contexts(settings(ROOT))) >= {"python", "python-build", "node", "nginx", "busybox"}
    assert all(base.suite and base.packages for base in found.values())


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("base/customize.sh", "clean", "dust", {"nginx", "python"}),
        ("base/nginx/customize.sh", "own", "other", {"nginx"}),
        ("base/nginx/added.sh", "", "x", {"nginx"}),
        ("base/python/instructions", "", 'CMD ["python3"]', {"python"}),
        ("bases.toml", '"dash"', '"bash"', {"nginx"}),
        ("bases.toml", "nginx:1.30", "nginx:1.31", set()),  # the public tag is no part of what is built here
        ("bases.toml", "sha256:old", "sha256:new", set()),
    ],
)
def test_a_recipe_changes_with_what_a_base_is_made_of(
    checkout: Path, file: str, old: str, new: str, changed: set[str]
) -> None:
    before, path = bases.read(checkout), checkout / "docker" / file
    path.write_text(path.read_text().replace(old, new) if path.exists() else new)
    after = bases.read(checkout)
    assert {name for name in after if after[name].local_tag != before[name].local_tag} == changed
    assert after["nginx"].local_tag == f"ops-base/nginx:{after['nginx'].recipe}"


def test_unpacking_is_one_exact_command(checkout: Path) -> None:
    found = bases.read(checkout)
    folder = checkout / "docker" / "base"
    assert bases.unpack(found["nginx"], checkout, Path("/t/rootfs.tar")).argv == (
        "mmdebstrap", "--quiet", "--variant=extract", "--include=nginx,dash",
        f'--extract-hook="{folder}/customize.sh" "$1" "{folder}/nginx"',
        '--aptopt=Acquire::Check-Valid-Until "false"', "testing", "/t/rootfs.tar",
    )  # fmt: skip
    assert f'--customize-hook="{folder}/customize.sh" "$1"' in bases.unpack(found["python"], checkout, Path("/t")).argv


def test_a_base_is_run_as_its_instructions_say(checkout: Path) -> None:
    found = bases.read(checkout)
    (checkout / "docker" / "base" / "nginx" / "instructions").write_text('CMD ["nginx"]\n')
    assert bases.dockerfile(found["nginx"], checkout) == 'FROM scratch\nADD rootfs.tar /\nCMD ["nginx"]\n'
    assert bases.dockerfile(found["python"], checkout) == "FROM scratch\nADD rootfs.tar /\n"


def test_pin_writes_every_digest_and_nothing_else(checkout: Path) -> None:
    assert bases.pin(checkout, ALL, Resolver()) == {"nginx": "sha256:nginx:1.30", "python": "sha256:python:3.11"}
    text = (checkout / "docker" / "bases.toml").read_text()
    assert bases.read(checkout)["python"].public_reference == "python:3.11@sha256:python:3.11"
    assert "".join(line for line in text.splitlines(keepends=True) if "digest" not in line) == BASES.replace(
        'digest = "sha256:old"\n', ""
    )
    bases.pin(checkout, ALL, Resolver())
    assert (checkout / "docker" / "bases.toml").read_text() == text


def test_an_apps_own_bases_are_added_to_the_toolkits_and_each_file_is_pinned(checkout: Path, tmp_path: Path) -> None:
    own = tmp_path / "app" / "docker" / "bases.toml"
    own.parent.mkdir(parents=True)
    entry = 'public = "{}"\nsuite = "trixie"\nvariant = "minbase"\npackages = ["php"]\n'
    own.write_text(f"[php]\n{entry.format('php:8')}[python]\n{entry.format('python:3.13')}")
    bases.pin(own.parents[1], ALL, Resolver())
    references = {name: base.public_reference for name, base in bases.read(own.parents[1]).items()}
    assert references == {
        "nginx": "nginx:1.30@sha256:nginx:1.30", "php": "php:8@sha256:php:8", "python": "python:3.13@sha256:python:3.13"
    }  # fmt: skip
    assert "php" not in (checkout / "docker" / "bases.toml").read_text()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('[php]\npublic = "php:8"\n', ["php: suite is missing", "php: variant is missing", "php: packages is missing"]),
        ('[php]\npubic = "php:8"\n', ["php: public is missing", "php: unknown key pubic; did you mean public?"]),
        ('php = "php:8"\n', ["php: it must be a section, [NAME]"]),
        ('[php]\npublic = 8\npackages = "php"\n', ["php: public must be a text", "php: packages must be a list"]),
    ],
)
def test_mistakes_of_an_entry_are_named_at_once(checkout: Path, entry: str, words: list[str]) -> None:
    (checkout / "docker" / "bases.toml").write_text(entry)
    with pytest.raises(Refused) as refused:
        bases.read(checkout)
    assert (refused.value.slug, [one for one in words if one not in refused.value.what]) == ("settings-invalid", [])


@pytest.mark.parametrize(
    "entry",
    [
        'public = "php:8"\nsuite = "s"\nvariant = "v"\npackages = ["p"]\ndigest = "sha256:old"  # of May\n',
        'public = "php:8"  # the one of Debian\n# of May\ndigest = "sha256:old"\nsuite = "s"\nvariant = "v"\npackages = ["p"]\n',
        "  public='php:8'\n  suite = 's'\n  variant = 'v'\n  packages = ['p']\n",
    ],
    ids=["digest last", "comments", "without spaces"],
)
def test_pin_pins_an_entry_however_it_is_written(checkout: Path, tmp_path: Path, entry: str) -> None:
    own = tmp_path / "app" / "docker" / "bases.toml"
    own.parent.mkdir(parents=True)
    own.write_text(f"# ours\n[php]\n{entry}\n# of the next\n[python]\n{entry}")
    bases.pin(own.parents[1], ["php"], Resolver())
    assert {bases.read(own.parents[1])[name].digest for name in ("php", "python")} == {"sha256:php:8"}
    assert "# of the next\n[python]" in own.read_text()
    assert all(line.split("=")[0] in own.read_text() for line in entry.splitlines())


def test_pin_writes_nothing_when_a_tag_cannot_be_resolved(checkout: Path) -> None:
    with pytest.raises(Refused, match=r"(?s)did not resolve nginx:1.30.*no end") as refused:
        bases.pin(checkout, ALL, Resolver(answers=False))
    assert refused.value.slug == "image-unresolved"
    assert (checkout / "docker" / "bases.toml").read_text() == BASES


@pytest.mark.parametrize("answers", [True, False])
def test_a_registry_that_hangs_is_one_that_does_not_answer(checkout: Path, answers: bool) -> None:
    assert bases.registry_answers([*bases.read(checkout).values()], Resolver(answers)) is answers


def test_a_bake_without_the_shells_variables_is_still_held_to_this_machines_builder() -> None:
    act = bake.without({"NODE_ENV"}, bake.print_targets("b"))
    assert act.argv[:3] == ("env", "--unset=NODE_ENV", "docker")
    assert act.programs == ("docker",)


def test_an_image_of_others_that_cannot_be_pulled_is_pulled_by_hand_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    here = LocalHost()

    def refused(*_: object, **__: object) -> str:
        raise CommandFailed("docker pull", 1, "no such host", "localhost")

    monkeypatch.setattr(here, "run", refused)
    with pytest.raises(Refused, match="cannot be pulled") as raised:
        tags.pull("adminer:5", here)
    assert raised.value.then.startswith("docker pull adminer:5;")
