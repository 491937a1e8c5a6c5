"""Marked secrets go through build, deploys, a failed one, debug, rotation, rollback, notifications: nothing shows one.

The nights' part, with backups, is tests/nights/test_canary.py.
"""

from __future__ import annotations

import subprocess
import sys
import uuid

from tests.support import canary
from tests.support.canary import Canary
from tests.support.site import Site, docker

SPEAK = "import os, sys; print(dict(os.environ), file=sys.stderr); sys.exit(os.environ['BEHAVIOUR'] == 'errs')"
INCLUDED = f"""services:
  speak:
    extends: {{file: base.yml, service: base}}
    image: APP/app
    command: ["python3.11", "-c", "{SPEAK}"]
    environment: {{BEHAVIOUR: "${{BEHAVIOUR}}"}}
    x-deploy: {{role: job, run: before_switch, on_rollback: true}}
"""
HARD = 'it\'s "so" #1 $HOME ${X} $$ `id` pässwörd-密码'


def secrets(site: Site, mark: str, port: int) -> dict[str, str]:
    """Write marked secrets of every shape; return those of the app."""
    own = {
        "QUOTED": f"{HARD} {mark}",
        "LINES": f"-----BEGIN-----\n{mark}\n{mark}/+=\n-----END-----\n",
        "URL": f"postgresql://u:{mark}%2F@db/x",
        "LONG": mark * 4000,  # 128 kB, less what its name takes
        "SIGNING_KEY": f"first-{mark}",
    }
    quoted = {key: value.replace("\\", "\\\\").replace("'", "\\'") for key, value in own.items()}
    text = "".join(f"{key}='{value}'\r\n".replace("\r", "") for key, value in quoted.items())
    toolkit = f"NOTIFY_URLS=json://{mark}@127.0.0.1:{port}/\nREGISTRY_PASSWORD={mark}\n"
    site.write(".env.local", f"\ufeff{text}EMPTY=\n{toolkit}")
    (site.root / ".env.local").chmod(0o600)
    return {**own, "EMPTY": ""}


def serving(site: Site) -> dict[str, str]:
    """The variables of the app that serves."""
    colour = site.inv("status", "--json").document["colour"]
    return canary.environment(f"{site.app}-local-{colour}-app-{colour}-1")


def test_no_marked_secret_is_anywhere_but_in_its_files_and_the_containers(tiny: Site) -> None:
    marked, control = Canary(), uuid.uuid4().hex
    [mark] = marked.marks
    tiny.write("docker/parts/base.yml", "services:\n  base: {env_file: [../.env]}\n")
    tiny.write("docker/parts/more.yml", INCLUDED.replace("APP", tiny.app))
    tiny.replace("docker/compose.yml", "services:\n", "include: [parts/more.yml]\nservices:\n")
    tiny.replace(
        "docker/compose.yml",
        f"    image: {tiny.app}/app\n",
        f"    image: {tiny.app}/app\n    extends: {{file: parts/base.yml, service: base}}\n",
    )
    tiny.write(".env.example", "SIGNING_KEY=<random KEY>\n# optional\nEMPTY=\n")
    tiny.write(".gitignore", ".env.*\n!.env.example\n")
    tiny.commit()
    with canary.receiving() as chat, marked.processes():
        own = secrets(tiny, mark, chat.server_port)
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.5)", control], check=True)
        first = marked.inv(tiny, "deploy", "--json").document["release"]
        variables = serving(tiny)
        assert {key: variables[key] for key in own} == own, "every value arrived to the letter"
        marked.inv(tiny, "--debug", "status")
        failed = marked.inv(tiny, "deploy", code=1, OPS_VARIABLES__BEHAVIOUR="errs")
        assert "***" in failed.stderr, "the job printed its secrets when it failed"
        marked.inv(tiny, "secrets.check", "--json")
        marked.inv(tiny, "secrets.rotate", "SIGNING_KEY")
        marked.inv(tiny, "deploy")
        rotated = serving(tiny)["SIGNING_KEY"]
        back = marked.inv(tiny, "rollback", "--json")
        assert (back.document["release"], f"SIGNING_KEY of {first} was revoked" in back.stderr) == (first, True)
        assert serving(tiny) == {**variables, "SIGNING_KEY": rotated}, "all came back but what was revoked"
    assert any(control.encode() in line for line in marked.seen), (
        "a process that shows a mark for half a second is seen"
    )
    assert any(b"compose" in line for line in marked.seen)
    assert len(chat.taken) == 4
    for message in chat.taken:
        marked.look("a notification", message)
    assert marked.folder(tiny.state, but=["env"]) > 20
    assert {path.stat().st_mode & 0o777 for path in tiny.state.rglob("env")} == {0o600}
    assert marked.logs(tiny) >= 3
    names = [
        name for name in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split() if name.endswith(first)
    ]
    assert len(names) == 2
    assert sum(marked.image(name) for name in names) > 500
    assert marked.hits == []
