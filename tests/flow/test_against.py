"""Promise: what an earlier commit had as well stops nobody who changes something else; what is new does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from deploy.config import checkout as source
from deploy.config.environment import Environment
from deploy.config.loader import load
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.images import bake, build
from deploy.security import against, judge, waivers
from deploy.security.findings import CHECKOUT, Finding, Inspection
from deploy.security.judge import Strict
from tests.flow.test_scanners import Checkout, key
from tests.support.fake import DONE

LOOSE, STRICT = Strict(False, "a test"), Strict(True, "a test")


class Engine(LocalHost):
    """This machine, and an engine that has image names, each with the id of what it names."""

    def __init__(self) -> None:
        self.names = dict[str, str]()

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[0] != "docker":
            return super().try_run(command, stdin=stdin, timeout=timeout)
        match command.argv[1:]:
            case ("tag", identity, name):
                self.names[name] = identity
            case ("image", "rm", name):
                self.names.pop(name, "")
            case ("image", "inspect", *_, name):
                return Result(0, self.names.get(name, ""), "")
        return DONE


class Change(Checkout):
    """A repository whose last commit is a change of the one before, `HEAD^1`; its image is `shop/app`."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.write("deploy/app.toml", 'app = "shop"\ncompose = ["c.yml"]\n')
        self.write("deploy/environments/local.toml", 'domain = "localhost"\n')
        self.commit()
        self.engine, self.built = Engine(), list[str]()
        monkeypatch.setattr(build, "read_targets", lambda *_: [bake.Target("app", "shop/app")])
        monkeypatch.setattr(build, "build_and_keep", self.build)

    def build(self, settings: Any, _: Any) -> None:
        """Name the image after the checkout's revision, and take the plain name, as `inv build` does."""
        revision = source.read(settings.root, self.engine).revision
        self.engine.names |= dict.fromkeys(("shop/app", f"shop/app:{revision}"), f"image of {revision}")
        self.built.append(revision)

    @property
    def at(self) -> Environment:
        settings = load("local", self.root)
        return Environment(settings, self.engine, (self.engine,))

    def look(self, at: Environment) -> list[Inspection]:
        """Look at the files for keys, and at an image whose finding is its id."""
        revision = source.read(at.settings.root, self.engine).revision
        image = self.engine.names.get(f"shop/app:{revision}", "")
        of_image = (Finding("vulnerabilities", "CVE-1", "HIGH", "shop/app", "bad", subject="flask 1"),) if image else ()
        files = sorted(
            path.name for path in at.settings.root.iterdir() if path.is_file() and "AKIA" in path.read_text()
        )
        keys = tuple(Finding("secrets", "key", "HIGH", CHECKOUT, "a key", path=name) for name in files)
        return [
            Inspection("vulnerabilities", "shop/app", findings=of_image),
            Inspection("secrets", CHECKOUT, findings=keys),
        ]

    def blocking(self, strict: Strict = LOOSE, commit: str = "HEAD^1") -> list[str]:
        """Name the findings that stop this change, by id and file."""
        before = against.fingerprints(self.at, commit, strict, self.look)
        looked_at, accepted = self.look(self.at), waivers.read(self.root, date.today())
        judged = [judge.judge(one, accepted.valid, before, self.at.settings) for one in looked_at]
        judged.append(judge.judge_waivers(accepted, looked_at, before))
        return [f"{finding.id} {finding.path}".strip() for one in judged for finding in one.blocking]


@pytest.fixture
def change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Change]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OPS_ROOT", raising=False)
    (tmp_path / "checkout").mkdir()
    change = Change(tmp_path / "checkout", monkeypatch)
    change.write("old", f"key = '{key()}'\n")
    change.commit()
    yield change
    status = source.read(change.root, change.engine)
    assert not status.dirty, "the person's checkout is only read"


def test_what_was_there_before_stops_nobody_and_what_is_new_does(change: Change) -> None:
    change.write("new", f"key = '{key()}'\n")
    change.commit()
    change.build(change.at.settings, None)
    before, now = (change.engine.run(source.git(change.root, "rev-parse", one))[:12] for one in ("HEAD^1", "HEAD"))
    assert change.blocking() == ["key new"]
    assert change.built == [now, before]
    assert change.engine.names == {"shop/app": f"image of {now}", f"shop/app:{now}": f"image of {now}"}
    change.engine.names[f"shop/app:{before}"] = "image of before"
    assert change.blocking() == ["key new"]
    assert change.built == [now, before], "what is here is not built again, and stays"
    assert f"shop/app:{before}" in change.engine.names


WAIVER = """
[[secrets]]
id = "{}"
statement = "of a test"
owner = "ana"
expired_at = {}
"""
EXPIRED, UNUSED = WAIVER.format("key", "2026-01-01"), WAIVER.format("none", "2999-01-01")
WRONG = {"expired": EXPIRED, "unused": UNUSED, "incomplete": UNUSED.replace("owner", "ownr")}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_waiver_that_the_commit_before_has_stops_nobody_and_one_of_the_change_does(
    change: Change, wrong: str
) -> None:
    change.write("deploy/waivers.toml", wrong)
    change.commit()
    change.write("new", "fine")
    change.commit()
    assert change.blocking() == []
    change.write("deploy/waivers.toml", wrong + WAIVER.format("other", "2999-01-01"))
    change.commit()
    assert change.blocking() == ["waiver deploy/waivers.toml"]
    assert change.blocking(commit="HEAD") == []


def test_waivers_of_the_commit_before_that_cannot_be_read_stop_nobody_who_repairs_them(change: Change) -> None:
    change.write("deploy/waivers.toml", "[[secrets")
    change.commit()
    change.write("deploy/waivers.toml", WAIVER.format("key", "2999-01-01"))
    change.commit()
    assert change.blocking() == []


def test_nothing_is_built_to_be_compared_with_images_that_are_not_here(change: Change) -> None:
    """As where a pull request runs `nox -s security` alone."""
    change.write("new", f"key = '{key()}'\n")
    change.commit()
    assert (change.blocking(), change.built) == (["key new"], [])


def test_an_image_with_a_tag_of_its_own_is_that_of_the_change_and_excuses_nothing(
    change: Change, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        build, "read_targets", lambda *_: [bake.Target("app", "shop/app:1"), bake.Target("b", "shop/b")]
    )
    revision = source.read(change.root, change.engine).revision
    change.engine.names = {"shop/app:1": "image of now", f"shop/b:{revision}": "image of now"}
    found = [Inspection("vulnerabilities", name, findings=(Finding("vulnerabilities", "CVE-1", "HIGH", name, "bad"),))
             for name in ("shop/app:1", "redis:7")]  # fmt: skip
    before = against.fingerprints(change.at, "HEAD^1", LOOSE, lambda _: found)
    assert [*before] == [found[1].findings[0].fingerprint]
    assert (change.built, change.engine.names["shop/app:1"]) == ([], "image of now")
    assert "shop/app:1 has a tag of its own" in capsys.readouterr().err


def test_what_was_less_severe_before_excuses_nothing_that_is_severe(change: Change) -> None:
    """As `permissions: write-all` in a workflow that had a wide permission of less weight."""
    severe = Finding("workflows", "excessive-permissions", "HIGH", CHECKOUT, "wide", path=".github/workflows/a.yml")
    now = Inspection("workflows", CHECKOUT, findings=(severe,))
    then = replace(now, findings=(replace(severe, severity="LOW"),))
    before = against.fingerprints(change.at, "HEAD^1", LOOSE, lambda _: [then])
    assert judge.judge(now, (), before, change.at.settings).blocking
    before = against.fingerprints(change.at, "HEAD^1", LOOSE, lambda _: [now])
    assert not judge.judge(now, (), before, change.at.settings).blocking


def test_a_commit_without_settings_excuses_nothing_and_stops_nobody(
    change: Change, capsys: pytest.CaptureFixture[str]
) -> None:
    """As before the change that brings the toolkit, or that repairs its settings."""
    assert change.blocking(commit="HEAD~2") == ["key old"]
    assert "so that all counts as new: there is no environment `local`" in capsys.readouterr().err


def test_images_that_cannot_be_built_excuse_nothing(
    change: Change, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    change.write("new", "fine")
    change.commit()
    change.build(change.at.settings, None)

    def broken(*_: object) -> None:
        raise OpsError("the build failed: boom", where="here", then="inv build", slug="build-failed")

    monkeypatch.setattr(build, "build_and_keep", broken)
    monkeypatch.setattr(change, "build", broken)
    assert change.blocking() == ["CVE-1"]
    assert "cannot be built, so that what is in ours counts as new: the build failed: boom" in capsys.readouterr().err


def test_a_release_is_compared_with_nothing_and_a_commit_that_is_not_here_is_refused(change: Change) -> None:
    with pytest.raises(Refused, match="an earlier commit excuses nothing here: a test") as refused:
        change.blocking(STRICT)
    assert refused.value.slug == "base-not-allowed"
    for commit in ("none", "--all", "HEAD^9"):
        with pytest.raises(Refused, match=r"there is no commit") as refused:
            change.blocking(commit=commit)
        assert refused.value.slug == "base-unreadable"
    assert change.built == []
