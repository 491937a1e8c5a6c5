"""The workflows' lines on clean checkouts, to a real host: a push to main, the nightly scan, a pull request.

A tag that is deployed to prod is in tests/nights/test_workflows.py.
"""

from __future__ import annotations

import json
import random
import shutil
import string
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.integration.test_registry import FORWARD, USER, WORD, Proxy, proxy
from tests.machines import Fleet, Machine
from tests.support import workflows
from tests.support.advisories import served
from tests.support.runner import Ran, Runner
from tests.support.site import ROOT, TINY, Site, copy_checkout, free_port

__all__ = ["proxy"]  # a fixture
ENVIRONMENT = """
domain = "localhost"
edge = {{address = "0.0.0.0", port = {port}, probe_port = {probe_port}}}
build = {{bases = "debian"}}
rollout = {{watch = 0}}
ship = {{by = "registry", registry = "{registry}/team", user = "{user}"}}
variables = {{BEHAVIOUR = "well"}}

[hosts.app1]
address = "{address}"
key = "{key}"
"""
# edges are of Debian testing here, for which there are no advisories, and buildx is older than its --check
SCAN = """
[scan]
databases = ["{}"]
without_packages = ["tiny/edge", "bookreader/edge"]
skip = ["misconfigurations", "dockerfiles", "shell", "build-check"]
"""
MAIN, TAG, PULL = "refs/heads/main", "refs/tags/v1.0.0", "refs/pull/7/merge"


@pytest.fixture(scope="module")
def host(machine: Machine, proxy: Proxy) -> Machine:
    """A server that knows the registry by the name that this machine knows it by."""
    machine.sh(FORWARD, str(proxy.server_port), machine.operator)
    return machine


@pytest.fixture(scope="module")
def scan() -> Iterator[str]:
    """Settings of a scan that has a vulnerability database."""
    with served() as registry:
        yield SCAN.format(registry.repository)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, host: Machine, proxy: Proxy, scan: str) -> Iterator[Site]:
    """A repository of this toolkit with the tiny app in place of BookReader, and a host in both environments' files."""
    site = Site(tmp_path_factory.mktemp("team"))
    copy_checkout(site)
    bring_tiny(site)
    name_host(site, host, proxy, scan)
    yield site
    site.sweep()


def name_host(site: Site, host: Machine, proxy: Proxy, scan: str) -> None:
    """Fill in the environments' files, and make it the branch main."""
    for env in workflows.ENVIRONMENTS:
        text = ENVIRONMENT.format(
            port=free_port(), probe_port=free_port(), registry=proxy.address, user=USER, address=host.address,
            key=host.key
        )  # fmt: skip
        site.write(f"deploy/environments/{env}.toml", text)
    for path in (site.root / "deploy/environments").glob("*.toml"):
        path.write_text(path.read_text() + scan)
    site.commit("our hosts")
    site.git("branch", "-M", "main")


def bring_tiny(site: Site) -> None:
    """Put the tiny app where BookReader was, under the site's own name."""
    for path in {*(site.root / "docker").glob("*.Dockerfile")} - {site.root / "docker/edge.Dockerfile"}:
        path.unlink()
    shutil.copytree(TINY, site.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "nginx"))
    shutil.copytree(TINY / "nginx", site.root / "routes")
    shutil.copytree(site.root / "docker/frontend/site", site.root / "docker/site")
    site.write("deploy/app.toml", f'app = "{site.app}"\ncompose = ["docker/compose.yml"]\nnginx = "routes"\n')
    site.replace("docker/compose.yml", "    read_only: true", "    env_file: [.env]\n    read_only: true")
    site.write(".env.example", "WORD=<a word>\n")
    shutil.rmtree(site.root / "tests")
    head, *waivers = (ROOT / "deploy/waivers.toml").read_text().split("[[misconfigurations]]")
    kept = [one for one in waivers if "infra/" in one]  # the others are of files that are gone
    site.write("deploy/waivers.toml", "[[misconfigurations]]".join([head, *kept]))


@pytest.fixture
def protected(machines: Fleet) -> dict[str, str]:
    """What the repository's environments hold."""
    return {"SSH_KEY": machines.key.read_text(), "SECRETS_FILE": f"WORD=kept\nREGISTRY_PASSWORD='{WORD}'"}


def run(runner: Runner, name: str, ref: str, secrets: Mapping[str, str]) -> list[Ran]:
    """Run a workflow; fail the test where a line printed a secret."""
    lines = runner.run(name, ref, secrets)
    hidden = [WORD, *secrets.get("SSH_KEY", "").splitlines()[1:3]]
    assert not [ran.line for ran in lines for value in hidden if value in ran.output]
    return lines


def require_success(lines: list[Ran]) -> None:
    """Fail the test with what the last line printed unless it ended with 0."""
    assert lines[-1].code == 0, f"{lines[-1].line} ended with {lines[-1].code}\n{lines[-1].output}"


def pull_request(team: Site) -> None:
    """Have a change merged for trial, as GitHub does: the first parent is main."""
    team.git("switch", "--quiet", "--create=change")
    team.commit("a change")
    team.git("switch", "--quiet", "--detach", "main")
    team.git("merge", "--quiet", "--no-ff", "--no-edit", "change")
    team.git("update-ref", PULL, "HEAD")
    team.git("switch", "--quiet", "main")


def serves(team: Site, host: Machine, env: str, path: str = "/version") -> str:
    """Return the release that visitors of an environment get; empty where nobody answers."""
    settings = tomllib.loads((team.root / f"deploy/environments/{env}.toml").read_text())
    status, body = team.get(path, settings["edge"]["port"], host.address)
    return str(json.loads(body)["release"]) if status == 200 else ""


def commands(lines: list[Ran]) -> list[str]:
    """Name the commands of `inv` among lines."""
    return [ran.line.split()[1] for ran in lines if "bin/inv " in ran.line]


def test_a_push_to_main_a_nightly_scan_and_a_pull_request(
    team: Site, host: Machine, proxy: Proxy, protected: dict[str, str], tmp_path: Path
) -> None:
    """A fork's main deploys nothing and says so; main is on staging and not in prod, where a drill finds nothing."""
    runner = Runner(tmp_path, team.root)
    forked = run(runner, "build", MAIN, {})
    require_success(forked)
    assert commands(forked) == ["build", "scan"]
    assert any("::notice title=Nothing is deployed to staging::" in ran.output for ran in forked)
    assert (proxy.asked, host.sh("docker ps --all --quiet")) == (0, "")

    pushed = run(runner, "build", MAIN, protected)
    require_success(pushed)
    assert commands(pushed) == ["build", "scan", "push", "deploy", "status"]
    on_main = team.git("rev-parse", "main")[:12]
    assert serves(team, host, "staging").startswith(f"{on_main}-")
    assert (bool(proxy.asked), serves(team, host, "prod")) == (True, "")

    require_success(run(runner, "security", MAIN, protected))
    team.write("notes", f"key = 'AKIA{''.join(random.choices(string.ascii_uppercase, k=16))}'")
    team.commit("a finding that main has")
    pull_request(team)
    requested = run(runner, "security", PULL, {})  # tests/flow/test_against.py has one that brings a finding
    require_success(requested)
    assert "1 in the base report" in requested[-1].output

    refused = run(runner, "backup-drill", MAIN, protected)[-1]  # tests/nights/test_workflows.py has one that restores
    assert (refused.line, refused.code) == (".venv/bin/inv backup.drill --env=prod --json", 2)
    assert "nothing is deployed, so there is nothing to save" in refused.output
