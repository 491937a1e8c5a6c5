"""Logs, exec, disk and prune on a site that serves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.core.poll import wait_until
from tests.support.site import ROOT, Site, docker, make_tiny

SAY = "import sys; open('/proc/1/fd/1', 'w').write(sys.argv[1] + '\\n')"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A tiny site with a release in service."""
    site = make_tiny(tmp_path_factory.mktemp("day"))
    site.name_images()
    site.inv("deploy")
    yield site
    site.sweep()


def say(site: Site, text: str) -> None:
    """Have the app that serves print a line."""
    site.inv("exec", "app", "--", "python3.11", "-c", SAY, text)


def deploy(site: Site, greeting: str) -> str:
    """Deploy a change; return the release."""
    path = site.root / "app" / "app.py"
    path.write_text(f"{path.read_text()}# {greeting}\n")
    site.commit()
    return str(site.inv("deploy", "--json").document["release"])


def from_stdin(site: Site, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `inv` with something on its standard input."""
    argv = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(argv, cwd=ROOT, env=site.environment, input=text, capture_output=True, text=True, timeout=60)


@contextmanager
def running(site: Site, log: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `inv` in a process group of its own, as a shell does."""
    argv = [sys.executable, "-m", "invoke", *words]
    with (
        log.open("wb") as out,
        subprocess.Popen(argv, cwd=ROOT, env=site.environment, stdout=out, stderr=out, start_new_session=True) as ran,
    ):
        try:
            yield ran
        finally:
            if ran.poll() is None:
                os.killpg(ran.pid, signal.SIGKILL)
                ran.wait()


def test_exec_passes_words_input_and_codes(serving: Site) -> None:
    show = "import sys; print(sys.argv[1:], sys.stdin.read(), sys.stdin.isatty())"
    ran = from_stdin(serving, "from a file\n", "exec", "app", "--", "python3.11", "-c", show, "a  b", "--env", "*", "")
    assert (ran.returncode, ran.stdout) == (0, "['a  b', '--env', '*', ''] from a file\n False\n")
    assert serving.inv("exec", "app", "python3.11 -c 'print(6 * 7)'").stdout == "42\n"
    failed = serving.inv("exec", "app", "--", "python3.11", "-c", "raise SystemExit(7)", code=1).stderr
    assert "ended with 7" in failed
    assert f"{serving.app}-local-blue-app-blue-1" in failed
    assert "ended with 12" in serving.inv("exec", "app", "--", "nope", code=1).stderr
    assert "one of: app, edge" in serving.inv("exec", "nope", "--", "ls", code=2).stderr
    assert "no command was given" in serving.inv("exec", "app", code=2).stderr
    assert serving.inv("exec", "app", "python3.11 -c pass").stdout == ""


def test_logs_of_all_services_with_since_grep_and_tail(serving: Site) -> None:
    for number in range(3):
        say(serving, f"said {number}")
        serving.get(f"/asked-{number}")
    everything = [
        line for line in serving.inv("logs", "--since=5m").stdout.splitlines() if "said" in line or "asked" in line
    ]
    assert [line.split(" | ")[0].strip() for line in everything] == ["app", "edge"] * 3
    assert serving.inv("logs", "app", "--grep=said [12]").stdout == "said 1\nsaid 2\n"
    assert serving.inv("logs", "app", "--since=2001-01-01", "--grep=said 0").stdout == "said 0\n"
    assert "no lines" in serving.inv("logs", "app", "--since=0s").stderr
    assert "not a regular expression" in serving.inv("logs", "--grep=*", code=2).stderr
    assert "is neither a duration nor a time" in serving.inv("logs", "--since=2w", code=2).stderr
    piped = f"{sys.executable} -m invoke logs app | head -n 1"
    ran = subprocess.run(piped, shell=True, cwd=ROOT, env=serving.environment, capture_output=True, text=True)  # noqa: S602  # a pipe is the test
    assert "Traceback" not in ran.stderr
    assert "Broken" not in ran.stderr


def test_follow_goes_on_over_a_restart_and_a_deploy_until_ctrl_c(serving: Site, tmp_path: Path) -> None:
    log = tmp_path / "said"

    def comes(text: str) -> bool:
        return wait_until(lambda: text in log.read_text(), 20)

    with running(serving, log, "logs", "app,edge", "--follow", "--grep=came|met") as ran:
        say(serving, "before it came")
        assert comes("before it came"), log.read_text()
        docker("restart", f"{serving.app}-local-blue-app-blue-1")
        wait_until(lambda: serving.get("/version")[0] == 200, 20)
        say(serving, "again it came")
        assert comes("again it came"), log.read_text()
        deploy(serving, "followed")
        say(serving, "from green it came")
        assert comes("from green it came"), log.read_text()
        serving.get("/met")
        assert comes("/met"), log.read_text()
        os.killpg(ran.pid, signal.SIGINT)
        assert ran.wait(10) == 0
    lines = log.read_text()
    assert [lines.count(f"{words} it came") for words in ("before", "again", "from green")] == [1, 1, 1]
    assert "Traceback" not in lines


def test_status_names_a_container_that_ran_out_of_memory(serving: Site) -> None:
    colour = serving.inv("status", "--json").document["colour"]
    name = f"{serving.app}-local-{colour}-app-{colour}-1"
    docker("update", "--memory=64m", "--memory-swap=64m", name)
    serving.inv("exec", "app", "--", "python3.11", "-c", "bytearray(500_000_000)", code=1)
    assert f"{name}: a process was killed at the memory limit" in serving.inv("status").stderr


def named() -> set[str]:
    """The engine's images, by tag and by id."""
    return set(docker("image", "ls", "--no-trunc", "--format", "{{.Tag}}\n{{.ID}}").split())


def unnamed(site: Site, label: str) -> str:
    """Make an image that has no name, large enough to be seen to go, and in no build cache; return its id."""
    (site.folder / "blob").write_bytes(os.urandom(3_000_000))
    with tarfile.open(site.folder / "blob.tar", "w") as archive:
        archive.add(site.folder / "blob", "blob")
    return docker("import", f"--change=LABEL {label}", str(site.folder / "blob.tar")).strip()


@pytest.mark.alone  # it counts what is free on the whole engine
def test_prune_frees_what_nobody_goes_back_to(serving: Site) -> None:
    few: dict[str, Any] = {"OPS_ROLLOUT__KEEP_RELEASES": "2", "OPS_BUILD__CACHE_GB": "1000"}
    releases = [serving.inv("status", "--json").document["release"], *(deploy(serving, word) for word in ("a", "b"))]
    ours, theirs = (
        unnamed(serving, label) for label in (f"bookreader-ops.image={serving.app}/app", "com.example=theirs")
    )
    assert "stdin is not a terminal" in serving.inv("prune", code=2, **few).stderr
    assert {releases[0], ours, theirs} <= named()
    done = serving.inv("prune", "--yes", "--json", **few).document
    assert releases[0] in done["releases"]
    assert done["freed_bytes"] > 1_000_000
    assert (ours in named(), theirs in named()) == (False, True)
    docker("image", "rm", theirs)
    assert [release for release in releases if release in named()] == releases[1:]
    assert serving.inv("rollback", "--json").document["release"] == releases[1]
    assert json.loads(serving.get("/version")[1]) == {"release": releases[1]}
    assert "nothing to prune" in serving.inv("prune", **few).stderr


def test_disk_says_where_the_space_went(serving: Site) -> None:
    found = serving.inv("disk", "--json").document["hosts"][0]
    sizes = {item["name"]: item["bytes"] for item in found["items"]}
    assert f"{serving.app}-local_edge-temp" in sizes
    assert sizes[f"{serving.app}-local-edge-1"] > 0
    assert [item["bytes"] or 0 for item in found["items"]] == sorted(
        (item["bytes"] or 0 for item in found["items"]), reverse=True
    )
    assert found["next"] == found["items"][0]["next"]
    assert "free at" in serving.inv("disk").stderr
