"""The Docker engines of many hosts, and one that does not answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from deploy import doctor
from deploy.core.errors import OpsError, Refused, Unreachable
from deploy.core.shell import Result
from deploy.hosts.engine import Engine
from deploy.hosts.ssh.host import SshHost
from deploy.site.checks import Check


def test_engines_are_connected_to_at_once() -> None:
    """One host that does not answer keeps no other waiting."""
    both = Barrier(2)

    def dial() -> Any:
        both.wait(10)
        raise Unreachable("the connection to it broke")

    def connect(engine: Engine) -> None:
        with pytest.raises(Unreachable):
            engine.require()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(connect, [Engine("a", dial), Engine("b", dial)])) == [None, None]


@pytest.mark.parametrize(("mine", "mend"), [
    (True, ("the Docker engine does not answer", "./scripts/quickstart starts it")),
    (False, ("this account may not use the Docker engine", "sudo usermod -aG docker $USER, then log in again")),
])  # fmt: skip
def test_an_engine_that_is_not_for_this_account_is_told_from_one_that_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: bool, mend: tuple[str, str]
) -> None:
    (tmp_path / "docker.sock").touch()

    def refuse(**_: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("docker.DockerClient", refuse)
    monkeypatch.setattr("deploy.hosts.engine.os.access", lambda _, mode: mine or not mode)
    engine = Engine(f"unix://{tmp_path}/docker.sock")
    assert doctor.attempt("Docker engine", engine.require) == Check("Docker engine", "FAIL", *mend)


@pytest.mark.parametrize("then", ["inv doctor", "inv hosts.check --env=prod", ""])
def test_doctor_does_not_advise_itself(then: str) -> None:
    def look() -> None:
        raise Refused("`flock` is not installed", then=then)

    assert doctor.attempt("flock", look) == Check("flock", "FAIL", "`flock` is not installed")


@pytest.mark.parametrize(("speaks", "asked"), [("1.45", "1.45"), ("1.51", "1.51"), ("1.60", "1.51")])
def test_what_takes_space_is_asked_so_that_each_thing_is_named(speaks: str, asked: str) -> None:
    """By 1.53 the answer has no such keys any more."""
    urls: list[str] = []

    def get(url: str, timeout: float) -> SimpleNamespace:
        urls.append(url)
        return SimpleNamespace(ok=True, json=lambda: {"Images": []})

    assert asking(get, speaks).usage() == {"Images": []}
    assert urls == [f"http://engine/v{asked}/system/df?type=image&type=volume&type=build-cache"]


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_what_takes_space_is_asked_again_when_something_went_away_meanwhile(failures: int) -> None:
    answers = iter([*[SimpleNamespace(ok=False, text="rw layer snapshot not found\n")] * failures, USAGE])
    engine = asking(lambda *_, **__: next(answers))
    if failures < 3:
        assert engine.usage() == {"Images": []}
        return
    with pytest.raises(OpsError, match="cannot say what takes space: rw layer snapshot not found") as failed:
        engine.usage()
    assert (failed.value.slug, failed.value.code) == ("engine-failed", 1)


USAGE = SimpleNamespace(ok=True, json=lambda: {"Images": []})


def asking(get: Callable[..., SimpleNamespace], speaks: str = "1.45") -> Engine:
    """Return an engine whose API answers with `get`."""
    engine = Engine("a")
    engine.connected = SimpleNamespace(api=SimpleNamespace(base_url="http://engine", api_version=speaks, get=get))
    return engine


GONE = "Error response from daemon: No such container: b\n"
BROKEN = "error during connect: EOF; is the Docker daemon running?\n"


@pytest.mark.parametrize(("code", "out", "err", "seen"), [
    (0, "[]", "", 0),
    (0, "[{}]", "", 1),
    (1, "[{}]", GONE, 1),
    (1, "[]", GONE, 0),
    (1, "[]", BROKEN, None),
    (1, "[{}]", GONE + BROKEN, None),
    (1, "[{}]", "", None),
    (137, '[{"Id": "a"', "", None),
    (0, '[{"Id": "a"', "", None),
])  # fmt: skip
def test_an_engine_that_breaks_off_in_the_middle_is_not_one_without_containers(
    monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, seen: int | None
) -> None:
    """`docker inspect` prints a list with nothing in it where the engine is gone: a deploy would begin from nothing."""
    host = object.__new__(SshHost)
    monkeypatch.setattr(host, "try_run", lambda _: Result(code, out, err), raising=False)
    if seen is None:
        with pytest.raises(OSError, match=r"."):
            host.list_containers("label")
    else:
        assert len(host.list_containers("label")) == seen
