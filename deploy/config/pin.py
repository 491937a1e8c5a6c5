"""Host keys into the settings: what a host shows is compared by a person at the host, then written down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit

from deploy.config import text
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Reasons, Refused
from deploy.hosts.local import LocalHost
from deploy.hosts.ssh.keys import fingerprint, host_key_file
from deploy.hosts.ssh.link import GATEWAY, Link


def pin(settings: Settings, names: Sequence[str] = (), *, yes: bool) -> None:
    """Pin the keys of these machines, or of all; the gateway's first, since the others are seen through it.

    One that is not seen keeps no other from being pinned.
    """
    gateway = Link(GATEWAY, settings.gateway, settings.ssh, settings.env) if settings.gateway else None
    links = [gateway] if gateway else []
    links += [
        Link(name, machine, settings.ssh, settings.env, gateway) for name, machine in sorted(settings.hosts.items())
    ]
    known_names = [link.name for link in links]
    if strangers := [name for name in names if name not in known_names]:
        raise Refused(
            f"there is no host `{strangers[0]}`",
            where=file(settings).name,
            then=f"one of: {', '.join(known_names) or '(none yet)'}",
            slug="host-unknown",
        )
    if not links:
        raise Refused(
            f"{settings.env} has no hosts",
            where=file(settings).name,
            then="a section [hosts.NAME] with an address; or --env",
            slug="hosts-missing",
        )
    pinned, reasons = list[str](), Reasons()
    try:
        for link in links:
            offered = ""
            if not names or link.name in names:
                with reasons:
                    offered = link.offered()
            if offered and pin_one(file(settings), link, offered, yes=yes):
                pinned.append(link.name)
        reasons.refuse()
    except Refused as error:
        if pinned:
            error.code, error.serves = OpsError.code, f"what served before; pinned: {', '.join(pinned)}"
        raise


def pin_one(path: Path, link: Link, offered: str, *, yes: bool) -> bool:
    """Show the key that a machine offers, ask whether it is the right one, and write it down.

    Tell whether it was another one before.
    """
    pinned = link.machine.key
    shown = f"{link.name} ({link.machine.address}:{link.machine.port})"
    if offered == pinned:
        console.say(f"{shown}: unchanged, {fingerprint(offered)}")
        return False
    console.say(f"{shown} offers {fingerprint(offered)} ({offered.split()[0]})")
    if pinned:
        console.warn(f"pinned is {described(pinned)}: possible man-in-the-middle, or the host was reinstalled")
    console.say(f"    compare it at the host: ssh-keygen -lf {host_key_file(offered.split()[0])}")
    unasked = "compare it first, at the host; then the same at a terminal, or with --yes"
    console.confirm(f"Is this the key of {link.name}?", yes=yes, word=link.name if pinned else "yes", unasked=unasked)
    write(path, (GATEWAY, "key") if link.name == GATEWAY else ("hosts", link.name, "key"), offered)
    link.machine = link.machine.model_copy(update={"key": offered})
    console.say(f"{link.name}: pinned in {path.name}")
    return True


def described(pinned: str) -> str:
    """Return a pinned key's fingerprint.

    What is no key, which keeps every command from connecting, can be replaced all the same.
    """
    try:
        return fingerprint(pinned)
    except Refused as error:
        return error.what.removeprefix("this is ")


def file(settings: Settings) -> Path:
    """Return the file that says where the hosts are."""
    return settings.root / "deploy" / "environments" / f"{settings.env}.toml"


def write(path: Path, key: tuple[str, ...], value: str) -> None:
    """Change one value of a TOML file, comments and order kept, so that a reader sees the old file or the new."""
    document = tomlkit.parse(text.read(path, path.name))
    table: Any = document
    for name in key[:-1]:
        table = table.setdefault(name, tomlkit.table())
    table[key[-1]] = value
    save(path, tomlkit.dumps(document))


def save(path: Path, content: str) -> None:
    """Write a file of settings, its mode kept, so that a reader sees the old file or the new."""
    LocalHost().write(path, content, mode=path.stat().st_mode & 0o777)
