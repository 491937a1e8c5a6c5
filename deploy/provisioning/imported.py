"""Hosts out of Terraform's output into an environment's file."""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import tomlkit
from pydantic import BaseModel, Field, ValidationError, field_validator
from tomlkit.items import InlineTable

from deploy.config import pin, text
from deploy.config.kinds import Name
from deploy.config.settings import LOCAL_ENVS, Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting, nearest, refuse
from deploy.core.shell import query
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server

OUTPUT = "Terraform's output"
KEYS = ("address", "port", "user", "private", "roles")  # of a host in the file; its other keys are a person's
Tables = Mapping[str, Mapping[str, Any]]


class Host(Server):
    """A host as the output has it."""

    name: Name

    @field_validator("key")
    @classmethod
    def _compared_by_a_person(cls, _: str) -> str:
        raise ValueError("a host key is compared by a person: inv hosts.pin")

    @property
    def table(self) -> dict[str, Any]:
        """What the file says of it, in the file's order; only what the output names."""
        given = self.model_fields_set & {*KEYS}
        values = {key: getattr(self, key) for key in KEYS if key in given}
        return {**values, **({"roles": ordered(self.roles)} if "roles" in given else {})}


class HostsOutput(BaseModel):
    """The output `hosts`."""

    value: list[Host] = Field(min_length=1)

    @field_validator("value")
    @classmethod
    def _each_once(cls, hosts: list[Host]) -> list[Host]:
        names = [host.name for host in hosts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is there twice; one machine is one host")
        return hosts


class EnvironmentOutput(BaseModel):
    """The output `environment`; a module of somebody else's may have none."""

    value: str


class Output(BaseModel):
    """What is read of `terraform output -json`; other outputs are no business of ours, and may be secrets."""

    hosts: HostsOutput
    environment: EnvironmentOutput | None = None


@dataclass(frozen=True)
class Row:
    """One host, and what an import did to its section; `pin` where no host key is pinned any more, or yet."""

    name: str
    change: Literal["added", "changed", "unchanged", "removed"]
    keys: tuple[str, ...] = ()
    pin: bool = False


def ordered(roles: Iterable[str]) -> list[str]:
    """Return roles in the order that the settings list them in: Terraform sorts them."""
    every: Sequence[str] = Server.model_fields["roles"].default
    return [role for role in every if role in roles]


def read(source: str, here: LocalHost) -> str | bytes:
    """Read Terraform's output: of a folder by terraform, of a file, or of stdin where neither is named."""
    if source and Path(source).is_dir():
        require_terraform()
        return here.run(query("terraform", f"-chdir={source}", "output", "-json", "-no-color"))
    if source:
        return text.read(Path(source), source)
    if not sys.stdin or sys.stdin.isatty():
        then = "inv hosts.import --from=infra/terraform/aws, or terraform output -json | inv hosts.import"
        raise Refused("nothing says which hosts there are", where="stdin", then=then, slug="wrong-usage")
    return sys.stdin.buffer.read()


def require_terraform() -> None:
    """Refuse where terraform is missing, and name the way without it."""
    if not shutil.which("terraform"):
        then = "install it; or, where it is: terraform output -json > FILE, here inv hosts.import --from=FILE"
        raise Refused("`terraform` is not installed", then=then, slug="program-missing")


def parse(output: str | bytes) -> Output:
    """Check an output; raise Refused with every mistake at once, and no value of any output."""
    try:
        return Output.model_validate_json(output)
    except ValidationError as error:
        mistakes = [explain(mistake) for mistake in error.errors(include_input=False)]
    then = "terraform apply; the outputs are those of infra/terraform/aws/outputs.tf"
    what = f"{OUTPUT} has {len(mistakes)} mistake(s):"
    refuse(what, mistakes, where=OUTPUT, then=then, slug="terraform-output-invalid")
    raise AssertionError  # there is a mistake


def explain(mistake: Any) -> str:
    """Describe one mistake: which host, counted from 0, which key, and what is wrong."""
    place = ".".join(str(part) for part in mistake["loc"] if part != "[key]") or "the whole"
    if mistake["type"] == "extra_forbidden":
        return f"{place}: unknown key{nearest(str(mistake['loc'][-1]), Host.model_fields)}"
    return f"{place}: {text.in_words(mistake)}"


def merge(before: Tables, desired: Tables) -> dict[str, dict[str, Any]]:
    """Return the sections of the desired hosts, each with the other keys that it had. Pure.

    A key that says what is so without it goes; so does the pinned host key of an address that changed.
    """
    return {name: merge_one(before.get(name, {}), table) for name, table in desired.items()}


def merge_one(before: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return one host's section."""
    changed = [key for key, value in table.items() if value_of(before, key) != value]
    gone = {"key"} if {"address", "port"} & {*changed} else set()
    own = {**before, **{key: table[key] for key in changed}}
    return {key: value for key, value in own.items() if key not in gone and not is_default(key, value, changed)}


def value_of(section: Mapping[str, Any], key: str) -> Any:
    """Return what a section says of a key, or what is so where it says nothing."""
    value = section.get(key, Server.model_fields[key].default)
    return ordered(value) if key == "roles" else value


def is_default(key: str, value: Any, changed: Sequence[str]) -> bool:
    """Tell whether a key that changed says no more than leaving it out."""
    return key in changed and value == Server.model_fields[key].default


def compare(before: Tables, after: Tables) -> list[Row]:
    """List what becomes of each host's section, those that go last. Pure."""
    return [*(row(name, before.get(name), after[name]) for name in after), *(
        Row(name, "removed") for name in before if name not in after
    )]  # fmt: skip


def row(name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Row:
    """Say what becomes of one host's section."""
    if before is None:
        return Row(name, "added", tuple(after), pin=True)
    keys = tuple(key for key in {**before, **after} if before.get(key) != after.get(key))
    return Row(name, "changed" if keys else "unchanged", keys, pin="key" not in after)


def write(settings: Settings, output: Output, *, remove: bool) -> list[Row]:
    """Write the output's hosts into the environment's file; say what became of each.

    Raises Refused, with nothing written, where they are another environment's, where the file has a host that the
    output lacks unless `remove`, or where the settings would be invalid.
    """
    path = pin.file(settings)
    require_own(settings, output)
    content = text.read(path, path.name)
    before = tomllib.loads(content).get("hosts", {})
    after = merge(before, {host.name: host.table for host in output.hosts.value})
    rows = compare(before, after)
    require_all(rows, path.name, remove=remove)
    require_valid(settings, after)
    if after != before:
        pin.save(path, rewrite(content, after, path.name))
    return rows


def require_own(settings: Settings, output: Output) -> None:
    """Refuse hosts of another environment: a folder, a workspace, or --env, is easily mistaken."""
    if not output.environment and settings.env in LOCAL_ENVS:
        raise Refused(
            f"{settings.env} is this machine, and {OUTPUT} does not say whose hosts these are",
            where=f"deploy/environments/{settings.env}.toml",
            then="inv hosts.import --env=ENV",
            slug="environment-differs",
        )
    if output.environment and output.environment.value != settings.env:
        raise Refused(
            f"these are the hosts of {output.environment.value}, not of {settings.env}",
            where=OUTPUT,
            then=f"--env={output.environment.value}, or terraform workspace select",
            slug="environment-differs",
        )


def require_all(rows: Sequence[Row], file: str, *, remove: bool) -> None:
    """Refuse to drop a host without --remove: what runs there would run on, and be asked by nobody."""
    gone = [row.name for row in rows if row.change == "removed"]
    if gone and not remove:
        raise Refused(
            f"{', '.join(gone)}: in {file}, and not in {OUTPUT}",
            where=file,
            then='what still runs there is emptied first: roles = ["monitoring"], inv deploy; then inv hosts.import'
            " with --remove",
            slug="hosts-vanished",
        )


def require_valid(settings: Settings, hosts: Tables) -> None:
    """Refuse hosts with which the settings would be refused, for two that are one machine for example."""
    mistakes = list[str]()
    try:
        Settings.model_validate({**settings.model_dump(), "hosts": hosts})
    except ValidationError as error:
        mistakes = [explain(mistake) for mistake in error.errors(include_input=False)]
    then = "fix infra/terraform, or the hosts of the file; then terraform apply, inv hosts.import"
    refuse("the settings would have mistakes:", mistakes, where=OUTPUT, then=then, slug="settings-invalid")


def rewrite(content: str, hosts: Tables, name: str) -> str:
    """Return a TOML text with these sections of hosts, everything else and all comments as they are. Pure.

    Raises OpsError where the text is written in a way that cannot be kept.
    """
    document: Any = tomlkit.parse(without_sections(content, hosts))
    tables = document.setdefault("hosts", tomlkit.table(is_super_table=True))
    for gone in [host for host in tables if host not in hosts]:
        del tables[gone]
    for host, section in hosts.items():
        if host not in tables:
            tables[host] = tomlkit.inline_table() if isinstance(tables, InlineTable) else tomlkit.table()
        edit(tables[host], section)
    edited = tomlkit.dumps(document)
    if tomllib.loads(edited) != {**tomllib.loads(content), "hosts": hosts}:
        what = f"the hosts of {name} are written in a way in which they cannot be changed; nothing was"
        then = f"write them as sections, [hosts.NAME], in {name}"
        raise OpsError(what, where=name, then=then, slug="hosts-not-written")
    return edited


def without_sections(content: str, hosts: Tables) -> str:
    """Cut out the sections of other hosts, each up to its last key; what is written otherwise stays. Pure.

    A comment behind that key is about the next section, and tomlkit would take it along.
    """
    for gone in tomllib.loads(content).get("hosts", {}).keys() - hosts.keys():
        section = rf"(?m)^\[hosts\.{re.escape(gone)}\].*\n(?:(?!\[).*\n)*?(?=(?:[ \t]*(?:#.*)?\n)*(?:\[|\Z))"
        content = re.sub(section, "", content, count=1)
    return content


def edit(table: Any, section: Mapping[str, Any]) -> None:
    """Make a section say this."""
    for key in [key for key in table if key not in section]:
        del table[key]
    for key, value in section.items():
        if table.get(key) != value:
            table[key] = value


def show(settings: Settings, rows: Sequence[Row], *, json: bool) -> None:
    """Show what became of each host, and say whose key is to be pinned."""
    if json:
        console.document({"env": settings.env, "hosts": [asdict(row) for row in rows]})
    else:
        console.table(["host", "", "changed"], [[row.name, row.change, " ".join(row.keys)] for row in rows])
    for line in advice(rows):
        console.say(acting(line, settings.env))


def advice(rows: Sequence[Row]) -> Iterator[str]:
    """Say what follows: keys to compare and pin, a file to commit."""
    if moved := [row.name for row in rows if row.change == "changed" and "key" in row.keys]:
        yield f"{', '.join(moved)}: the address changed, so the pinned host key went"
    if unpinned := [row.name for row in rows if row.pin]:
        yield f"next: inv hosts.pin {','.join(unpinned)}"
