"""Where an environment's settings come from: defaults < deploy/app.toml < environments/<env>.toml < OPS_* variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from deploy.config.settings import OWN, ROOT, Settings
from deploy.core.errors import Reasons, Refused, nearest, refuse
from deploy.hosts.sections import Section

PREFIX = "OPS_"
VARIABLES = "environment variable"
Key = tuple[str, ...]


def load(env: str, root: Path = ROOT) -> Settings:
    """Read one environment's settings; raise Refused with every mistake at once."""
    root = Path(os.environ.get("OPS_ROOT", root)).resolve()
    values: dict[Key, Any] = {}
    sources: dict[Key, str] = {}
    for name, layer in layers(env, root):
        values |= layer
        sources |= dict.fromkeys(layer, name)
    mistakes = [f"{place((key,), sources)}: unknown key; --env and the checkout say it" for key in OWN if values.pop((key,), None)]
    try:
        wanted = Settings.model_validate({**nested(values), "env": env, "root": root})
    except ValidationError as error:
        mistakes += [explain(mistake, sources) for mistake in error.errors()]
    where = f"deploy/app.toml, deploy/environments/{env}.toml, OPS_ variables"
    refuse(f"the settings of {env} have {len(mistakes)} mistake(s):", mistakes, where=where, then=f"mend them, then inv plan --env={env}")
    return wanted


def layers(env: str, root: Path) -> Iterator[tuple[str, dict[Key, Any]]]:
    """Yield the settings' layers, weakest first, each with the name a person knows it by."""
    folder = root / "deploy" / "environments"
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if env not in known:
        raise Refused(
            f"there is no environment `{env}`{nearest(env, known)}",
            where=str(folder.relative_to(root)),
            then=f"--env with one of: {', '.join(known) or '(none yet)'}",
        )
    reasons = Reasons()
    for path in (root / "deploy" / "app.toml", folder / f"{env}.toml"):
        with reasons:
            yield str(path.relative_to(root)), dict(flat(parse(path, root)))
    reasons.refuse()
    yield VARIABLES, from_variables(os.environ)


def parse(path: Path, root: Path) -> dict[str, Any]:
    """Read one TOML file."""
    where = str(path.relative_to(root))
    try:
        return tomllib.loads(path.read_text())
    except ValueError as error:  # not TOML, or not UTF-8
        raise Refused(f"{where} is not TOML: {error}", where=where, then=f"mend {where}") from None
    except OSError as error:
        raise Refused(f"{where} cannot be read: {error.strerror}", where=where, then=f"mend {where}") from None


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
                raise Refused(f"{section} is a section in one place and a value in another", where=".".join(key), then="remove one of them")
        table[key[-1]] = value
    return tables


def from_variables(environ: Mapping[str, str]) -> dict[Key, Any]:
    """Turn OPS_EDGE__PORT=8081 into {("edge", "port"): "8081"}; the names of the app's own variables stay as they are written."""
    names = {name: name.removeprefix(PREFIX).split("__") for name in environ if name.startswith(PREFIX) and name != "OPS_ROOT"}
    return {from_words(*words): listed(environ[name]) for name, words in names.items()}


def from_words(first: str, *rest: str) -> Key:
    """Turn a variable's words into a key; a shell's variable has no hyphen, so that OPS_HOSTS__APP_1__PORT is of app-1."""
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
    """Say one mistake as file, key path and what is wrong, with the nearest right key."""
    key = tuple(str(part) for part in mistake["loc"] if part != "[key]")  # where the key itself is the mistake
    said = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "extra_forbidden":
        return f"{place(key, sources)}: unknown key{nearest('.'.join(key), known_keys(key[:-1]))}"
    return f"{place(key, sources)}: {said[0].lower()}{said[1:]}"


def place(key: Key, sources: Mapping[Key, str]) -> str:
    """Name a key as the person wrote it: file and path, or the variable."""
    path = ".".join(key)
    source = next((name for known, name in sources.items() if all(one == other for one, other in zip(key, known, strict=False))), "")
    if source == VARIABLES:
        return f"{source} {PREFIX}{path.upper().replace('.', '__').replace('-', '_')} ({path})"
    return f"{source}: {path}" if source else path


def known_keys(above: Key) -> list[str]:
    """List the keys that a section takes, with the section's own."""
    model: type[BaseModel] = Settings
    for part in above:
        known = model.model_fields.get(part)  # none for the name of a host
        model = (known and section(known.annotation)) or model
    return [".".join((*above, name)) for name in model.model_fields if name not in OWN]


def section(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation is about: `Edge`, `Machine | None`, `dict[Name, Server]`."""
    return next((one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Section)), None)
