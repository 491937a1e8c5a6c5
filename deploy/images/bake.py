"""Make the command lines of `docker buildx bake` and read what it prints. Pure."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.core.shell import Command, Script, command

# One fixed time in every layer: an unchanged layer keeps its digest over commits. The commit's time is a label.
LAYER_TIME = "1700000000"
# marks an image as ours, also when a later build has taken its name
LABEL = "bookreader-ops.image"
VARIABLE = re.compile(r'(?m)^[ \t]*variable[ \t]+"?(\w+)')
# secret = ["id=npm,env=NPM_TOKEN"], or { id = "npm", env = "NPM_TOKEN" }
SECRET = re.compile(r"""\benv"?[ \t]*[=:][ \t]*"?(\w+)""")


@dataclass(frozen=True)
class Target:
    """One image of the bake file: its target's name, the name that compose files use, its size budget.

    `dockerfile` is a path in the checkout, empty where the bake file has the text itself; `arguments` are given to it,
    and `contexts` are names that it may take files from.
    """

    name: str
    image: str
    budget_mb: int | None = None
    dockerfile: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    contexts: tuple[str, ...] = ()


def print_targets(file: str) -> Command:
    """Ask for the targets of a bake file."""
    return command("docker", "buildx", "bake", "--file", file, "--print", "--progress=quiet")


def secrets(text: str) -> tuple[str, ...]:
    """Name the variables of the shell that a bake file gives to builds as secrets, of which no image keeps anything."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith(("#", "//")))
    return tuple(dict.fromkeys(SECRET.findall("\n".join(lines))))


def variables(text: str) -> list[str]:
    """Name the variables that a bake file declares, in HCL or in JSON, whose blocks may stand in a list.

    https://github.com/hashicorp/hcl/blob/main/json/spec.md
    """
    try:
        blocks = json.loads(text)["variable"]
    except (ValueError, LookupError, TypeError):  # HCL; JSON without variables; JSON that Bake refuses
        return VARIABLE.findall(text)
    listed = blocks if isinstance(blocks, list) else [blocks]
    return [name for block in listed if isinstance(block, dict) for name in block]


def without(names: Iterable[str], act: Command) -> Command:
    """Return a command that does not see these variables of the shell; it is run as Docker's client all the same."""
    unset = [f"--unset={name}" for name in sorted({*names})]
    return Script(("env", *unset, *act.argv), act.environment, act.changes, (act,)) if unset else act


def targets(printed: str, budget: Mapping[str, int]) -> tuple[Target, ...]:
    """Read the targets that the default group builds; a target's first tag is its image's name."""
    document = json.loads(printed)
    return tuple(target(name, spec, budget.get(name)) for name, spec in document["target"].items() if spec.get("tags"))


def target(name: str, spec: Mapping[str, Any], budget_mb: int | None) -> Target:
    """Make a target of what Bake prints of it."""
    arguments = {key: value for key, value in spec.get("args", {}).items() if value is not None}
    file = "" if "dockerfile-inline" in spec else dockerfile(spec)
    return Target(name, spec["tags"][0], budget_mb, file, arguments, tuple(spec.get("contexts", ())))


def dockerfile(spec: Mapping[str, Any]) -> str:
    """Return the path of a target's Dockerfile in the checkout."""
    return str(os.path.normpath(Path(spec.get("context", "."), spec.get("dockerfile", "Dockerfile"))))


def check(file: str, bases: Mapping[str, str]) -> tuple[str, ...]:
    """Return the arguments that have BuildKit check the Dockerfiles of every target, and build nothing."""
    return (
        "docker", "buildx", "bake", "--file", file, "--call=check,format=json", "--progress=quiet", *contexts(bases),
    )  # fmt: skip


def contexts(bases: Mapping[str, str]) -> list[str]:
    """Return the options that name the base images of every target."""
    return [f"--set=*.contexts.{name}=docker-image://{reference}" for name, reference in bases.items()]


def arguments(
    file: str,
    chosen: Iterable[Target],
    bases: Mapping[str, str],
    metadata: str,
    *,
    platform: str = "",
    cache_from: Iterable[str] = (),
    cache_to: Iterable[str] = (),
    no_cache: bool = False,
) -> tuple[str, ...]:
    """Return the arguments of the one bake that builds all images, in parallel."""
    argv = ["docker", "buildx", "bake", "--file", file, "--load", "--provenance=false"]
    argv += ["--progress=rawjson", "--metadata-file", metadata]
    argv += ["--no-cache"] if no_cache else []
    argv += [f"--set=*.platform={platform}"] if platform else []
    argv += contexts(bases)
    for target in chosen:
        argv += [f"--set={target.name}.labels.{LABEL}={target.image}"]
        # a scope per image: a shared one would keep the last image only
        argv += [f"--set={target.name}.cache-from={scoped(place, target.name)}" for place in cache_from]
        argv += [
            f"--set={target.name}.cache-to={scoped(place, target.name)},mode=max,ignore-error=true"
            for place in cache_to
        ]
    return tuple(argv)


def scoped(place: str, name: str) -> str:
    """Give a cache address a place of its own for one image."""
    if place.startswith("type=gha"):
        return f"{place},scope={name}"
    return re.sub(r"\b(src|dest|ref)=([^,]+)", lambda m: f"{m[1]}={m[2]}{'-' if m[1] == 'ref' else '/'}{name}", place)


def documents(stream: str) -> Iterator[dict[str, Any]]:
    """Split buildx's raw progress, one JSON document after another, into those documents."""
    decoder, at = json.JSONDecoder(), 0
    while (start := stream.find("{", at)) >= 0:
        try:
            document, at = decoder.raw_decode(stream, start)
        except json.JSONDecodeError:
            return
        yield document


def cached_steps(stream: str, target: str) -> tuple[int, int]:
    """Count one target's steps: how many came from the cache, and how many there are."""
    completed: dict[str, bool] = {}
    for document in documents(stream):
        for vertex in document.get("vertexes") or []:
            if re.match(rf"\[{re.escape(target)} (?:\S+ )*\d+/\d+\]", vertex["name"]) and vertex.get("completed"):
                completed[vertex["digest"]] = bool(vertex.get("cached"))
    return sum(completed.values()), len(completed)


def error_of(stream: str, plain: str) -> str:
    """Return why a build failed: the failed step, the last lines that it printed, the error."""
    failed = [v for d in documents(stream) for v in d.get("vertexes") or [] if v.get("error")]
    if not failed:
        return "\n".join([line for line in plain.strip().splitlines() if line[:1] not in ("{", "}", " ")][-8:])
    logs = [entry for d in documents(stream) for entry in d.get("logs") or [] if entry["vertex"] == failed[0]["digest"]]
    printed = b"".join(base64.b64decode(entry["data"]) for entry in logs).decode(errors="replace").splitlines()
    return "\n".join([failed[0]["name"], *printed[-12:], failed[0]["error"]])
