"""What triage saw, and the logs behind it, as files for whoever looks at it later; secrets hidden."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.incidents.sight import SECOND, Sight, hiding

LINES = 2000  # of each container's log


def require_new(folder: Path) -> None:
    """Refuse a folder that has something in it: two incidents must not mix."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = f"{folder} exists, and is not an empty folder"
        raise Refused(what, where="--bundle", then="name a new folder", slug="bundle-exists")


def write(at: Environment, document: dict[str, object], sights: tuple[Sight, ...], folder: Path) -> list[str]:
    """Write the files, for this account alone; return their names."""
    texts = {"triage.json": json.dumps(document, indent=2) + "\n"}
    for host in at.hosts:
        sight = next(one for one in sights if one.host == host.name)
        if sight.view:
            texts |= logs(at, host, sight)
        if sight.deploys is not None:
            lines = [entry.model_dump_json() for entry in sight.deploys]
            texts[f"{host.name}-deploys.jsonl"] = "".join(f"{line}\n" for line in lines)
    for name, text in texts.items():
        at.here.write(folder / name, text, mode=0o600)
    folder.chmod(0o700)
    return list(texts)


def logs(at: Environment, host: Host, sight: Sight) -> dict[str, str]:
    """Read the last lines of every container of a host, secrets hidden; of one that does not answer, why."""
    there = sight.view.facts.containers if sight.view else ()
    hide, texts = hiding(at, host, there), dict[str, str]()
    for c in there:
        text = "its log could not be read\n"
        with suppress(OpsError, OSError):
            asked = docker("logs", "--timestamps", "--tail", LINES, c.name).as_query()
            done = host.try_run(asked, timeout=SECOND)
            text = hide(done.stdout + done.stderr)
        texts[f"{host.name}-{c.name}.log"] = text
    return texts
