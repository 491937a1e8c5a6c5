"""Where backups are kept, as restic writes it, and what ssh must know of a server there. Pure."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from deploy.hosts.sections import like

REMOTE = r"sftp:[\w.-]+@[\w.-]+:.+|sftp://[\w.-]+@[\w.-]+(:\d+)?/.+|s3:https?://[\w.-]+(:\d+)?/.+"
SERVER = re.compile(r"sftp:(?://)?[\w.-]+@(?P<host>[\w.-]+)(?::(?P<port>\d+)(?=/))?")
AS_IN = "sftp://backup@vault.example.org:22//srv/backups or s3:https://s3.example.org/bucket/folder"
Repository = Annotated[str, like(rf"/.*|{REMOTE}", f"it must be a folder of the backup service, {AS_IN}")]
Offsite = Annotated[str, like(rf"{REMOTE}|", f"it must be {AS_IN}: what is on the host goes with the host")]


class Server(NamedTuple):
    """A server that is reached by SFTP."""

    host: str
    port: int


def sftp_server(repository: str) -> Server | None:
    """Return the server of a repository that is reached by SFTP; None for any other."""
    match = SERVER.match(repository)
    if not match:
        return None
    is_url = repository.startswith("sftp://")  # else what follows the colon is a folder
    return Server(match["host"], int(match["port"] or 22) if is_url else 22)


def known_host(repository: str, key: str) -> str:
    """Write the line of ssh's known_hosts for a repository's server; empty where it is not reached by SFTP."""
    server = sftp_server(repository)
    if not server:
        return ""
    return f"{server.host if server.port == 22 else f'[{server.host}]:{server.port}'} {key}"
