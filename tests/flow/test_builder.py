"""What `inv doctor` says of the builder, the platform and proxies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from deploy.config.loader import load
from deploy.core.errors import Refused
from deploy.core.shell import Command, Result
from deploy.doctor import attest
from deploy.hosts.local import LocalHost
from deploy.images import build, builder
from deploy.images.builder import Named
from tests.support import samples

INSPECTED = """Name:          default
Driver:        {driver}
Last Activity: 2026-12-01 02:50:29 +0000 UTC

Nodes:
Name:             default
Endpoint:         default
Status:           {status}
BuildKit version: v0.0.0+unknown
Platforms:        linux/amd64*, linux/amd64/v2, linux/arm64
Labels:
 org.mobyproject.buildkit.worker.network:              host
"""


class Machine(LocalHost):
    """This machine with another Docker."""

    endpoint = "unix:///var/run/docker.sock"

    def __init__(self, *, driver: str = "docker", status: str = "running", code: int = 0, **info: Any) -> None:
        self.inspected, self.info = Result(code, INSPECTED.format(driver=driver, status=status), "no builder"), info

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return self.inspected if "buildx" in command.argv else Result(0, json.dumps(self.info), "")


@pytest.fixture(autouse=True)
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configuration of Docker's client, and a shell that says nothing of builds."""
    for name in ("BUILDX_BUILDER", "BUILDX_CONFIG", "DOCKER_DEFAULT_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def refused(check: Any, *words: Any) -> Refused:
    with pytest.raises(Refused) as error:
        check(*words)
    assert error.value.then
    return error.value


def test_the_builder_is_the_engines_own_and_others_are_named(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.check_builder(Machine()) == "the engine's own"
    monkeypatch.setenv("BUILDX_BUILDER", "ci")
    (client / "buildx").mkdir()
    (client / "buildx/current").write_text('{"Key": "unix:///var/run/docker.sock", "Name": "mine", "Global": false}')
    output = builder.check_builder(Machine())
    assert (
        output
        == "the engine's own; BUILDX_BUILDER=ci of this shell is not used; mine, which is selected here, is not used"
    )


class WithoutBuildx(LocalHost):
    """This machine with a Docker that knows no buildx."""

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return Result(1, "", "docker: 'buildx' is not a docker command.")


def test_a_docker_without_buildx_is_named_and_not_the_bake_file() -> None:
    error = refused(build.read_targets, load("local"), WithoutBuildx())
    assert (error.slug, error.what) == ("builder-missing", "docker has no buildx plugin")


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(code=1), "does not answer: no builder"),
        (Machine(driver="docker-container"), "of the driver docker-container"),
        (Machine(status="stopped"), "is stopped"),
    ],
)
def test_a_builder_that_cannot_build_is_refused(machine: Machine, words: str) -> None:
    assert words in refused(builder.check_builder, machine).what


def test_the_platform_is_one_that_the_builder_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.check_platform(samples.settings(), Machine()) == "linux/amd64"
    assert builder.check_platform(samples.settings(build={"platform": "linux/arm64"}), Machine()) == "linux/arm64"
    error = refused(builder.check_platform, samples.settings(build={"platform": "linux/s390x"}), Machine())
    assert error.what == "build.platform is linux/s390x, and the builder has linux/amd64, linux/amd64/v2, linux/arm64"
    monkeypatch.setenv("DOCKER_DEFAULT_PLATFORM", "linux/arm64")
    output = builder.check_platform(samples.settings(), Machine())
    assert output == "linux/amd64; DOCKER_DEFAULT_PLATFORM=linux/arm64 of this shell is not read"


def test_proxies_are_those_of_shell_client_and_engine(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder.check_proxies(Machine()) == "none"
    monkeypatch.setenv("HTTPS_PROXY", "http://me:secret@proxy.example:3128")
    own = {"httpsProxy": "http://proxy.example:3128", "noProxy": "localhost,127.0.0.1,backend"}
    (client / "config.json").write_text(json.dumps({"proxies": {"default": own}}))
    engine: Any = {"HttpsProxy": "http://proxy.example:3128", "HttpProxy": "", "NoProxy": ""}
    assert builder.check_proxies(Machine(**engine)) == (
        "shell: https_proxy proxy.example:3128; builds and containers: https_proxy proxy.example:3128; "
        "engine: https_proxy proxy.example:3128"
    )
    check = attest("proxies", lambda: builder.check_proxies(Machine()), advice=True)
    assert (check.word, check.evidence) == ("advice", "https_proxy is set here, and the engine pulls without it")
    assert "daemon.json" in check.then


PROXY = {"http_proxy": "http://proxy:3128"}
EVERYWHERE = {**PROXY, "no_proxy": "localhost,127.0.0.1"}


@pytest.mark.parametrize(
    ("named", "words"),
    [
        (Named(), []),
        (Named(EVERYWHERE, EVERYWHERE, PROXY), []),
        (Named({"no_proxy": "x"}, {"no_proxy": "x"}, {}), []),
        (Named({}, EVERYWHERE, {}), ["the engine pulls without it"]),
        (Named(PROXY, {}, PROXY), ["http_proxy of this shell is not given to builds"]),
        (Named({}, PROXY, PROXY), ["lacks localhost, 127.0.0.1"]),
        (Named({}, {**PROXY, "no_proxy": "localhost"}, PROXY), ["lacks 127.0.0.1"]),
        (Named({}, {**EVERYWHERE, "http_proxy": "http://u:p@127.0.0.1:3128"}, PROXY), ["is the container itself"]),
        (Named({}, {}, PROXY), []),
    ],
)
def test_what_does_not_fit_together_is_named(named: Named, words: list[str]) -> None:
    found = [what for what, _ in builder.faults(named)]
    assert len(found) == len(words)
    assert all(word in what for word, what in zip(words, found, strict=True))
    assert ":p@" not in "".join(found)
