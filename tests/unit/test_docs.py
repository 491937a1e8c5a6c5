"""The documents name what there is: no more, no less."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from deploy.config.loader import section
from deploy.config.settings import OWN, ROOT, Settings
from deploy.core import errors, yaml
from deploy.core.model import Deploy, Kept, Record, Role
from deploy.rollout import steps
from deploy.rollout.apply import Outcome
from deploy.rollout.takedown import KEEP
from deploy.tasks import namespace

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tests/load/README.md"]
COMMANDS = (ROOT / "docs/reference/commands.md").read_text()
COMMAND_NAMES = {name for own, others in namespace.task_names.items() for name in (own, *others)}
SESSIONS = set(re.findall(r"(?m)^@nox\.session.*\ndef (\w+)", (ROOT / "noxfile.py").read_text()))


def table(document: str, heading: str) -> dict[str, list[str]]:
    """Read the table whose first heading is this: first cell, without backticks -> the others."""
    rows = re.search(rf"(?m)^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", document)
    assert rows, f"no table of {heading}"
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows[1].splitlines()]
    return {first.strip().strip("`"): others for first, *others in cells}


def reference(name: str, heading: str) -> dict[str, list[str]]:
    return table((ROOT / "docs/reference" / name).read_text(), heading)


def keys(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    """Name every key of a model with its default as the documents write it."""
    for key, field in model.model_fields.items():
        if inner := section(field.annotation):
            yield from keys(inner, f"{above}{key}.{'NAME.' if get_origin(field.annotation) is dict else ''}")
        else:
            yield above + key, shown(field.default)


def shown(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    return f"`{default}`" if default not in (None, "", [], {}, ()) else "none"


def test_every_setting_with_its_default() -> None:
    assert {key: row[0] for key, row in reference("settings.md", "key").items()} == {
        k: d for k, d in keys(Settings) if k not in OWN
    }


def test_every_key_of_x_deploy_with_its_default() -> None:
    assert {key: row[0] for key, row in reference("x-deploy.md", "key").items()} == dict(keys(Deploy))
    assert set(reference("x-deploy.md", "role")) == set(get_args(Role))


def test_every_command_with_its_flags() -> None:
    sections = dict(re.findall(r"(?ms)^### `inv ([\w.]+)`\n(.*?)(?=^##|\Z)", COMMANDS))
    assert set(sections) == {alias[0] if alias else name for name, alias in namespace.task_names.items()}
    for name, text in sections.items():
        flags = {f"--{argument.names[0]}" for argument in namespace[name].get_arguments()}
        assert set(re.findall(r"`(--[\w-]+)`", text.strip().split("\n\n")[0])) == flags, name
    assert [name for name in sections if f"`inv {name}" not in (ROOT / "README.md").read_text()] == []


def test_every_step_with_its_keys() -> None:
    found = {step.__name__: [field.name for field in dataclasses.fields(step)] for step in steps.Step.__subclasses__()}
    assert {name: re.findall(r"`(\w+)`", row[0]) for name, row in table(COMMANDS, "step").items()} == found


@pytest.mark.parametrize("shape", [Record, Outcome])
def test_the_keys_of_what_is_printed_as_json(shape: Any) -> None:
    fields = (
        list(shape.model_fields)
        if issubclass(shape, BaseModel)
        else [field.name for field in dataclasses.fields(shape)]
    )
    names = [name for name in fields if name not in Kept.model_fields]  # of the file, not of the answer
    assert ", ".join(f'"{name}"' for name in names) in re.sub(r"\s+", " ", COMMANDS)


def test_exit_codes() -> None:
    output = {code: name.strip("`") for code, (_, name) in table(COMMANDS, "code").items() if name}
    assert output == {str(getattr(errors, name).code): name for name in output.values()}
    assert set(output) == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_points_to_is_there(document: Path) -> None:
    text = document.read_text()
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (document.parent / target).exists(), target
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        assert f"def {name}(" in (ROOT / path).read_text() if name else (ROOT / path).is_file(), f"{path}::{name}"
    if document.name != "own-app.md":  # that names the reader's own files
        for path in re.findall(
            r"`((?:deploy|docker|nginx|scripts|bench|tests|requirements|backend)/[\w./-]*\w)`", text
        ):
            assert (ROOT / path).exists(), path


def test_readme_links_every_page_of_how_to_and_reference() -> None:
    linked = set(re.findall(r"\]\((docs/[\w/-]+\.md)", (ROOT / "README.md").read_text()))
    pages = [*(ROOT / "docs/how-to").iterdir(), *(ROOT / "docs/reference").iterdir()]
    assert {str(page.relative_to(ROOT)) for page in pages} - linked == set()


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```", "", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_anchor_and_every_command_that_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    for place, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", text):
        assert anchor in anchors(document.parent / place if place else document), f"{place}#{anchor}"
    if document.name in ("own-app.md", "CHANGELOG.md"):  # what a reader adds; what was
        return
    shown = "\n".join(re.findall(r"(?ms)^ *```.*?^ *```|`[^`\n]+`", text))
    for name in re.findall(r"(?m)(?:^ *|`|\$ |bin/)inv ([a-z][\w.]*\w)", shown):
        assert name in COMMAND_NAMES, f"inv {name}"
    for name in re.findall(r"nox (?:-s|--sessions?)[ =](\w+)", shown):
        assert name in SESSIONS, f"nox -s {name}"


def test_the_services_of_the_page_for_another_app_have_their_images_networks_and_volumes() -> None:
    page = (ROOT / "docs/how-to/own-app.md").read_text()
    images = set(re.findall(r'tags\s+= \["(.+?)"\]', page))
    images |= {f"${{BASE_{name.upper()}}}" for name in tomllib.loads((ROOT / "docker/bases.toml").read_text())}
    blocks = [yaml.load(block) for block in re.findall(r"(?ms)^```yaml\n(.*?)^```", page)]
    declared = {kind: {name for block in blocks for name in block.get(kind, {})} for kind in ("networks", "volumes")}
    for name, service in (item for block in blocks for item in block["services"].items() if "x-deploy" in item[1]):
        Deploy(**service["x-deploy"])
        assert service["image"] in images, name
        assert set(service["networks"]) <= declared["networks"], name
        mounted = {volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith("$")}
        assert mounted <= declared["volumes"], name


def test_what_the_page_for_another_app_copies_is_there_and_gets_its_name() -> None:
    page = (ROOT / "docs/how-to/own-app.md").read_text()
    sources = " ".join(re.findall(r"(?m)^cp (?:-R )?(.+) \.\./shop", page)).split()
    assert sources
    assert [source for source in sources if not (ROOT / source).exists()] == []
    old, new, source = re.findall(r"(?m)^sed 's/(.+?)/(.+?)/' (\S+) >", page)[0]
    renamed = yaml.load((ROOT / source).read_text().replace(old, new))
    assert {service["image"] for service in renamed["services"].values()} == {"shop/backup", "shop/notify"}
    assert renamed["services"]["backup"]["environment"]["PGDATABASE"] == "shop"
    assert renamed["volumes"]["backups"]["labels"] == {KEEP: "true"}


def test_decisions_are_short_and_numbered_without_a_gap() -> None:
    found = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:04}" for number in range(1, len(found) + 1)]
    for path in found:
        text = path.read_text()
        assert len(text.splitlines()) < 40, path.name
        assert text.startswith(f"# {path.name[:4]} "), path.name


def test_every_limit_is_a_sentence_of_its_own_and_the_few_that_decide_stand_in_readme() -> None:
    short = (ROOT / "README.md").read_text().partition("\n## Limits\n")[2].partition("\n## ")[0]
    assert "](docs/reference/limits.md)" in short
    assert 10 <= short.count("\n- ") <= 16
    page = (ROOT / "docs/reference/limits.md").read_text()
    limits = [" ".join(limit.split()) for limit in re.findall(r"(?ms)^- (.+?)(?=^- |^#|^$|\Z)", page)]
    assert [limit for limit in limits if not limit.endswith(".") or re.search(r"[\w`)]\. ", limit)] == []
    assert [line for line in (*short.splitlines(), *page.splitlines()) if len(line) > 120] == []
