"""Where an environment's settings come from: defaults < deploy/app.toml < environments/<env>.toml < OPS_* variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from deploy.config import text
from deploy.config.settings import LOCAL_ENVS, OWN, ROOT, Settings
from deploy.core.errors import Reasons, Refused, nearest, refuse
from deploy.hosts.sections import Section

PREFIX = "OPS_"
VARIABLES = "environment variable"
BASES = ("build", "bases")
Key = tuple[str, ...]


def load(env: str, root: Path | None = None) -> Settings:
    """Read one environment's settings, of `root`, else OPS_ROOT; raise Refused with every mistake at once."""
    root = (root or Path(os.environ.get("OPS_ROOT", ROOT))).resolve()
    values: dict[Key, Any] = {}
    sources: dict[Key, str] = {}
    for name, layer in layers(env, root):
        values |= layer
        sources |= dict.fromkeys(layer, name)
    own = [key for key in OWN if values.pop((key,), None)]
    mistakes = [f"{place((key,), sources)}: unknown key; --env and the checkout set it" for key in own]
    mistakes += require_bases(env, values, sources)
    try:
        settings = Settings.model_validate({**nested(values), "env": env, "root": root})
    except ValidationError as error:
        mistakes += [explain(mistake, sources) for mistake in error.errors()]
    where = f"deploy/app.toml, deploy/environments/{env}.toml, OPS_ variables"
    title, then = f"the settings of {env} have {len(mistakes)} mistake(s):", f"fix them, then inv plan --env={env}"
    refuse(title, mistakes, where=where, then=then, slug="settings-invalid")
    return settings


def require_bases(env: str, values: dict[Key, Any], sources: Mapping[Key, str]) -> list[str]:
    """Default to public bases where a commit is the same release whoever builds it, and refuse those of the machine."""
    if env in LOCAL_ENVS or not isinstance(values.get(BASES[:1], {}), dict):
        return []
    if values.setdefault(BASES, "public") != "auto":
        return []
    why = "one commit would get other bases on another machine; write public or debian"
    return [f"{place(BASES, sources)}: auto is for {' and '.join(LOCAL_ENVS)}: {why}"]


NO_SETTINGS = "cd to the app's folder, or OPS_ROOT=FOLDER; a new app gets its settings as docs/how-to/own-app.md says"


def layers(env: str, root: Path) -> Iterator[tuple[str, dict[Key, Any]]]:
    """Yield the settings' layers, weakest first, each with the name a person knows it by."""
    folder = root / "deploy" / "environments"
    names = sorted(path.stem for path in folder.glob("*.toml"))
    if env not in names:
        raise Refused(
            f"there is no environment `{env}`{nearest(env, names)}",
            where=str(folder.relative_to(root)),
            then=f"--env with one of: {', '.join(names)}" if names else NO_SETTINGS,
            slug="environment-unknown",
        )
    reasons = Reasons()
    for path in (root / "deploy" / "app.toml", folder / f"{env}.toml"):
        with reasons:
            yield str(path.relative_to(root)), dict(flat(parse(path, root)))
    reasons.refuse()
    yield VARIABLES, from_variables(os.environ)


def parse(path: Path, root: Path) -> dict[str, Any]:
    """Read one TOML file."""
    name = str(path.relative_to(root))
    try:
        return tomllib.loads(text.read(path, name))
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{name} is not TOML: {error}", where=name, then=f"fix {name}", slug="settings-invalid") from None


def flat(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield the values of nested tables by key; an empty table is a value."""
    for name, value in table.items():
        if value and isinstance(value, dict):
            yield from flat(value, (*above, name))
        else:
            yield (*above, name), value


def nested(values: Mapping[Key, Any]) -> dict[str, Any]:
    """Make tables of values; raise Refused when one stands where another has a table."""
    tables: dict[str, Any] = {}
    for key, value in sorted(values.items(), key=lambda item: len(item[0])):
        table = tables
        for section in key[:-1]:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                what = f"{section} is a section in one place and a value in another"
                raise Refused(what, where=".".join(key), then="remove one of them", slug="settings-invalid")
        table[key[-1]] = value
    return tables


def from_variables(environ: Mapping[str, str]) -> dict[Key, Any]:
    """Turn OPS_EDGE__PORT=8081 into {("edge", "port"): "8081"}; the app's own variables keep their case."""
    names = [name for name in environ if name.startswith(PREFIX) and name != "OPS_ROOT"]
    return {from_words(*name.removeprefix(PREFIX).split("__")): listed(environ[name]) for name in names}


def from_words(first: str, *rest: str) -> Key:
    """Turn a variable's words into a key; no variable has a hyphen, so that OPS_HOSTS__APP_1__PORT is of app-1."""
    if first == "HOSTS" and rest:
        rest = (rest[0].replace("_", "-"), *rest[1:])
    return (first.lower(), *(rest if first == "VARIABLES" else map(str.lower, rest)))


def listed(value: str) -> Any:
    """Read `["a", "b"]` as the list that TOML would make of it; everything else stays a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"] if value.startswith("[") else value
    except tomllib.TOMLDecodeError:
        return value


def explain(mistake: Any, sources: Mapping[Key, str]) -> str:
    """Describe one mistake: file, key path and what is wrong, with the nearest right key."""
    key = tuple(str(part) for part in mistake["loc"] if part != "[key]")  # where the key itself is the mistake
    if mistake["type"] == "extra_forbidden":
        return f"{place(key, sources)}: unknown key{nearest('.'.join(key), known_keys(key[:-1]))}"
    return f"{place(key, sources)}: {text.in_words(mistake)}"


def place(key: Key, sources: Mapping[Key, str]) -> str:
    """Name a key as the person wrote it: file and path, or the variable."""
    path = ".".join(key)
    matching = (name for other, name in sources.items() if all(a == b for a, b in zip(key, other, strict=False)))
    source = next(matching, "")
    if source == VARIABLES:
        return f"{source} {PREFIX}{path.upper().replace('.', '__').replace('-', '_')} ({path})"
    return f"{source}: {path}" if source else path


def known_keys(above: Key) -> list[str]:
    """List the keys that a section takes, with the section's own."""
    model: type[BaseModel] = Settings
    for part in above:
        field = model.model_fields.get(part)  # none for the name of a host
        model = (field and section(field.annotation)) or model
    return [".".join((*above, name)) for name in model.model_fields if name not in OWN]


def section(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation is about: `Edge`, `Machine | None`, `dict[Name, Server]`."""
    types = (one for one in (annotation, *get_args(annotation)) if isinstance(one, type))
    return next((one for one in types if issubclass(one, Section)), None)
