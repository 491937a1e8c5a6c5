"""Bad input, with the real fault each: what the person reads, the exit code, and that nothing was lost.

bad_input.toml is the list; a test is named after its id.
"""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.site import ROOT, SWEPT, Site, docker, make_tiny

CASES: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("bad_input.toml").read_text())
LOCAL = "deploy/environments/local.toml"
COMPOSE = "docker/compose.yml"
DOCKERFILE = "docker/app.Dockerfile"
SECRETS = "SECRET_KEY=a-long-and-chosen-value\nMAIL_PASSWORD=another-chosen-value\n"

# mounts in a namespace of the command's own: nobody else sees them, and they end with it
HIDE_PLUGIN = """
folder=$(dirname "$1") hidden=$1 kept=$2; shift 2
mount --bind "$folder" "$kept"; mount -t tmpfs tmpfs "$folder"
for plugin in "$kept"/*; do [ "$(basename "$plugin")" = "$(basename "$hidden")" ] || ln -s "$plugin" "$folder/"; done
exec "$@"
"""
SMALL_DISK = """
state=$1 small=$2; shift 2
mount -t tmpfs -o size=8m tmpfs "$small"; cp -a "$state/." "$small"; mount --bind "$small" "$state"
[ -z "${FILL-}" ] || cat /dev/zero > "$state/filler" 2>/dev/null || true
exec "$@"
"""
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))


@dataclass(frozen=True)
class Snapshot:
    """What must not change: the release and generation that serve, what runs, what was deployed."""

    version: str
    generation: str
    running: tuple[str, ...]
    everything: tuple[str, ...]
    ledger: str


def look(site: Site) -> Snapshot:
    """Look at a site past the toolkit: over HTTP, at the engine, on the disk."""
    shown = docker("ps", "--all", "--no-trunc", "--filter", f"label={SWEPT}={site.app}", "--format", "{{.State}} {{.ID}} {{.Names}}")
    everything = tuple(sorted(shown.splitlines()))
    ledger = site.state / "ledger.jsonl"
    return Snapshot(
        version=site.get("/version")[1],
        generation=site.get("/generation", site.probe_port)[1],
        running=tuple(line for line in everything if line.startswith("running ")),
        everything=everything,
        ledger=ledger.read_text() if ledger.exists() else "",
    )


@dataclass
class Bad:
    """One entry of the list, and the site that it is tried on."""

    name: str
    site: Site
    release: str
    met: bool = False

    @property
    def case(self) -> dict[str, Any]:
        """What the list says of this fault."""
        return CASES[self.name]

    def meets(self, *words: str, site: Site | None = None, under: tuple[str, ...] = (), **variables: str) -> str:
        """Run `inv` and compare exit code and message with the list; return what the person read."""
        target = site or self.site
        argv = [*under, sys.executable, "-m", "invoke", *words]
        environment = {**target.environment, **variables}
        ran = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
        said = ran.stderr
        assert ran.returncode == self.case["code"], f"ended with {ran.returncode}\n{ran.stdout}\n{said}"
        assert f'File "{ROOT}' not in said, f"a traceback of the toolkit:\n{said}"
        assert ran.returncode != 2 or "building images" not in said, f"refused after work was done:\n{said}"
        cause, where, serves, then = parts(said) if ran.returncode else (said, "", "", "")
        for wanted in self.case["cause"]:
            assert wanted in cause, f"{wanted!r} is not in the cause:\n{said}"
        for found, key in ((where, "where"), (serves, "serves"), (then, "next")):
            expected = self.case.get(key, "").replace("{release}", self.release)
            assert expected in found, f"{key}: should have {expected!r}:\n{said}"
        self.met = True
        return said

    def spoil(self, path: str, old: str, new: str) -> None:
        """Change a file of the checkout and commit it."""
        self.site.replace(path, old, new)
        self.site.commit("bad")


def parts(said: str) -> tuple[str, str, str, str]:
    """Take a message apart: cause, where, serves, next."""
    cause, _, rest = said.rpartition("\n  where:")
    where, _, rest = rest.partition("\n  serves:")
    serves, _, then = rest.partition("\n  next:")
    assert where.strip(), f"no where:\n{said}"
    assert serves.strip(), f"no serves:\n{said}"
    assert then.strip(), f"no next:\n{said}"
    return cause, where, serves, then


@pytest.fixture
def bad(request: pytest.FixtureRequest, serving: Site) -> Iterator[Bad]:
    """The entry of this test; afterwards the old release still serves, and a refusal changed nothing at all."""
    before = look(serving)
    tried = Bad(request.node.name.removeprefix("test_").replace("_", "-"), serving, json.loads(before.version)["release"])
    try:
        yield tried
    finally:
        serving.git("reset", "--hard", "--quiet", "good")
        serving.git("clean", "-ffdxq")
    assert tried.met, "the test compared nothing with the list"
    after = look(serving)
    if tried.case["code"]:
        assert (after.version, after.generation, after.running) == (before.version, before.generation, before.running)
    if tried.case["code"] in (2, 3, 4):
        assert after == before


@pytest.fixture(scope="module", autouse=True)
def good(serving: Site) -> None:
    """Remember the commit that serves."""
    serving.git("tag", "good")


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    """A site that nothing was deployed to."""
    site = make_tiny(tmp_path)
    yield site
    site.sweep()


@contextmanager
def without_git(site: Site) -> Iterator[None]:
    """Take .git away for a while."""
    away = site.folder / "git-away"
    (site.root / ".git").rename(away)
    try:
        yield
    finally:
        away.rename(site.root / ".git")


def with_secrets(site: Site, text: str = SECRETS, mode: int = 0o600) -> None:
    """Give a site documented secrets and a file of them."""
    site.write(".env.example", "SECRET_KEY=<random KEY>\nMAIL_PASSWORD=change-me\n")
    site.write(".env.local", text)
    (site.root / ".env.local").chmod(mode)


def hide_plugin(name: str, folder: Path) -> tuple[str, ...]:
    """Return the words that run a command where the Docker client really lacks a plugin."""
    plugins = json.loads(docker("info", "--format", "{{json .ClientInfo.Plugins}}"))
    path = next(plugin["Path"] for plugin in plugins if plugin["Name"] == name)
    return (*UNSHARE, "sh", "-euc", HIDE_PLUGIN, "sh", path, str(folder))


def small_disk(site: Site, folder: Path) -> tuple[str, ...]:
    """Return the words that run a command where the state, as it is, lies on a small file system."""
    return (*UNSHARE, "sh", "-euc", SMALL_DISK, "sh", str(site.state), str(folder))


# the machine


def test_engine_not_running(bad: Bad, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    socket_of_nobody = f"unix://{tmp_path / 'dead.sock'}"
    for command in ("deploy", "plan", "rollback"):
        bad.meets(command, DOCKER_HOST=socket_of_nobody)
    for words in (["build"], ["status"], ["logs", "app"], ["down"]):
        assert "the Docker engine does not answer" in bad.site.inv(*words, code=2, DOCKER_HOST=socket_of_nobody).stderr
    assert "Docker engine" in bad.site.inv("doctor", code=3, DOCKER_HOST=socket_of_nobody).stderr


def test_engine_elsewhere(bad: Bad) -> None:
    bad.meets("deploy", DOCKER_HOST="tcp://192.0.2.1:2375")


def test_no_buildx(bad: Bad, tmp_path: Path) -> None:
    bad.meets("deploy", under=hide_plugin("buildx", tmp_path))


def test_no_compose(bad: Bad, tmp_path: Path) -> None:
    bad.meets("deploy", under=hide_plugin("compose", tmp_path))


def test_disk_nearly_full(bad: Bad, tmp_path: Path) -> None:
    said = bad.meets("deploy", under=small_disk(bad.site, tmp_path))
    assert str(bad.site.state) in said


def test_disk_full(bad: Bad, tmp_path: Path) -> None:
    bad.meets("deploy", under=small_disk(bad.site, tmp_path), FILL="yes", OPS_ROLLOUT__FREE_DISK_GB="0")


def test_build_out_of_space(bad: Bad) -> None:
    step = """RUN --mount=type=tmpfs,target=/small,size=1m ["python3.11", "-c", "open('/small/x', 'wb').write(bytes(9000000))"]"""
    bad.spoil(DOCKERFILE, "USER ", f"{step}\nUSER ")
    bad.meets("deploy")


def test_port_taken(bad: Bad, fresh: Site) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)), socket.create_server(("127.0.0.1", fresh.probe_port)):
        said = bad.meets("deploy", site=fresh)
    assert f"port {fresh.port} is taken" in said
    assert f"port {fresh.probe_port} is taken" in said
    assert (fresh.containers(), fresh.state.exists()) == ({}, False)


# the checkout


def test_not_a_git_checkout(bad: Bad) -> None:
    with without_git(bad.site):
        bad.meets("deploy")


def test_dirty_checkout(bad: Bad) -> None:
    bad.site.replace("app/app.py", "says hello", "says it dirtily")
    bad.meets("deploy")
    dirty = json.loads(bad.site.get("/version")[1])["release"]
    assert "-dirty-" in dirty
    assert dirty.startswith(bad.site.git("rev-parse", "HEAD")[:12])


# settings


def test_malformed_toml(bad: Bad) -> None:
    bad.site.replace("deploy/app.toml", 'app = "tiny"', "app = tiny")
    bad.site.replace(LOCAL, "[rollout]", "[rollout")
    bad.site.replace(LOCAL, "\n\n", "\n")
    bad.meets("deploy")


def test_wrong_value(bad: Bad) -> None:
    bad.site.replace(LOCAL, "drain_within = 10", 'drain_within = "soon"\nkeep_releases = 1')
    bad.meets("deploy")


def test_unknown_key_in_environment(bad: Bad) -> None:
    bad.site.replace(LOCAL, "healthy_within", "healthy_witin")
    bad.meets("deploy")


def test_unknown_key_in_app(bad: Bad) -> None:
    bad.site.replace("deploy/app.toml", 'app = "tiny"', 'app = "tiny"\nngins = "nginx/edge.conf.j2"\nenv = "prod"')
    bad.meets("deploy")


def test_unknown_variable(bad: Bad) -> None:
    bad.meets("deploy", OPS_ROLLOUT__STRATEGI="blue_green")


def test_unknown_environment(bad: Bad) -> None:
    bad.meets("deploy", "--env=locl")


def test_unknown_option(bad: Bad) -> None:
    bad.meets("deploy", "--form")


def test_unknown_release(bad: Bad) -> None:
    bad.meets("deploy", "--to=nope")
    bad.meets("rollback", "--to=nope")


def test_unknown_service(bad: Bad) -> None:
    bad.meets("logs", "nope")


def test_no_earlier_release(bad: Bad) -> None:
    ledger = bad.site.state / "ledger.jsonl"
    kept = ledger.read_text()
    ledger.write_text("".join(line for line in kept.splitlines(keepends=True) if bad.release in line))
    bad.meets("rollback")
    ledger.write_text(kept)


# compose files and images


def test_malformed_compose(bad: Bad) -> None:
    bad.site.replace(COMPOSE, "services:\n", "services:\n  [\n")
    bad.meets("deploy")


def test_key_twice(bad: Bad) -> None:
    bad.site.replace(COMPOSE, "    image: tiny/app\n", "    image: tiny/app\n    image: tiny/other\n")
    bad.meets("deploy")


def test_missing_compose(bad: Bad) -> None:
    bad.site.replace("deploy/app.toml", '"docker/compose.yml"', '"docker/compose.yml", "docker/nowhere.yml"')
    bad.meets("deploy")


def test_compose_refuses(bad: Bad) -> None:
    bad.site.replace(COMPOSE, "image: tiny/app", "imagee: tiny/app")
    bad.meets("deploy")


def test_unset_variable(bad: Bad) -> None:
    bad.site.replace(LOCAL, 'BEHAVIOUR = "well"', "")
    bad.meets("deploy")


def test_no_role(bad: Bad) -> None:
    bad.site.replace(COMPOSE, "role: web, ", "")
    bad.meets("deploy")


def test_unknown_key_in_x_deploy(bad: Bad) -> None:
    bad.site.replace(COMPOSE, "health: /health", "helth: /health")
    bad.meets("deploy")


def test_relative_bind(bad: Bad) -> None:
    bad.site.replace(COMPOSE, '["scratch:/scratch"]', '["./data:/data", "../app:/code"]')
    bad.meets("deploy")


def test_malformed_bake(bad: Bad) -> None:
    bad.site.replace("docker/bake.hcl", 'target "app" {', 'target "app" [')
    bad.meets("deploy")


# secrets


def test_no_secrets_file(bad: Bad) -> None:
    bad.site.write(".env.example", "SECRET_KEY=<random KEY>\n")
    bad.meets("deploy")


def test_missing_secret(bad: Bad) -> None:
    with_secrets(bad.site, SECRETS.splitlines()[0])
    assert "a-long-and-chosen-value" not in bad.meets("deploy")


def test_placeholder_secret(bad: Bad) -> None:
    with_secrets(bad.site, SECRETS.replace("a-long-and-chosen-value", "<random KEY>"))
    assert "another-chosen-value" not in bad.meets("deploy")


def test_readable_secrets(bad: Bad) -> None:
    with_secrets(bad.site, mode=0o644)
    assert "chosen-value" not in bad.meets("deploy")


def test_all_at_once(bad: Bad) -> None:
    with_secrets(bad.site, SECRETS.splitlines()[0])
    bad.site.replace(COMPOSE, "role: web, ", "")
    (bad.site.root / "docker/bake.hcl").unlink()
    with without_git(bad.site):
        bad.meets("deploy")


# another operator, the build, the gate


def test_locked(bad: Bad) -> None:
    hold = "import sys; from pathlib import Path; from deploy import lock\nwith lock.held(Path(sys.argv[1]), 'deploy'): print(); input()"
    argv = [sys.executable, "-c", hold, str(bad.site.state)]
    with subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert f"process {holder.pid}" in bad.meets("deploy")
        bad.meets("rollback")
        holder.communicate("\n")


def test_build_step_fails(bad: Bad) -> None:
    step = """RUN ["python3.11", "-c", "print('told to fail', flush=True); raise SystemExit(3)"]"""
    bad.spoil(DOCKERFILE, "USER ", f"{step}\nUSER ")
    bad.meets("deploy")


def test_build_file_missing(bad: Bad) -> None:
    bad.spoil(DOCKERFILE, "USER ", "COPY nowhere.py /\nUSER ")
    bad.meets("deploy")


def test_over_budget(bad: Bad) -> None:
    bad.meets("deploy", OPS_BUILD__BUDGET__APP="1")


# the new release


def test_migration_fails(bad: Bad) -> None:
    migrate = """migrate: ["python3.11", "-c", "raise SystemExit('no such column')"]"""
    bad.spoil(COMPOSE, "role: web, ", f"role: web, {migrate}, ")
    bad.meets("deploy")


def test_exits_at_once(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', '"exits"')
    begun = time.monotonic()
    bad.meets("deploy", OPS_ROLLOUT__SERVED_WITHIN="60")
    assert time.monotonic() - begun < 30, "waited although the cause was plain"


def test_health_redirects(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', '"redirects"')
    begun = time.monotonic()
    bad.meets("deploy", OPS_ROLLOUT__SERVED_WITHIN="60")
    assert time.monotonic() - begun < 30, "waited although the cause was plain"


def test_health_fails(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', '"fails"')
    bad.meets("deploy")


def test_health_never(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', '"hangs"')
    bad.meets("deploy")


# the edge


def test_template_broken(bad: Bad) -> None:
    bad.site.replace("nginx/site.conf.j2", "live.app", "live.nope")
    bad.meets("deploy")


def test_nginx_refuses(bad: Bad) -> None:
    bad.spoil("nginx/site.conf.j2", "location / {", "nonsense on;\n        location / {")
    bad.meets("deploy")


# the list


def test_every_fault_has_a_test_and_every_test_a_fault() -> None:
    """The list and the tests have the same ids, and every entry says all that it must."""
    here = inspect.getmembers(sys.modules[__name__], inspect.isfunction)
    tested = {name.removeprefix("test_").replace("_", "-") for name, test in here if "bad" in inspect.signature(test).parameters}
    assert tested == set(CASES)
    wanted = {"fault", "code", "cause", "where", "serves", "next"}
    assert [name for name, case in CASES.items() if case["code"] and (set(case) != wanted or not all(case.values()))] == []


def test_a_correct_deploy_works_after_all_of_it(serving: Site) -> None:
    """Nothing that went wrong stands in the way of what is right."""
    serving.replace("app/app.py", "says hello", "says good day")
    serving.commit()
    release = serving.inv("deploy", "--json").document["release"]
    assert json.loads(serving.get("/version")[1]) == {"release": release}
