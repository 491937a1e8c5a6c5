"""The rules of the house that a linter does not hold."""

from __future__ import annotations

import ast
import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import noxfile
from deploy.config.settings import ROOT
from tests import conftest
from tests.integration import conftest as order

CODE = sorted((ROOT / "deploy").rglob("*.py"))
# options and files by which pip, npm and apt are told of a registry
REGISTRY = re.compile(
    rb"--(?:extra-)?index[-]url[ =]|--find[-]links[ =]|(?:PIP|UV)_(?:EXTRA_)?INDEX[_]URL *="
    rb"|^ *registry *= *http|[\"]resolved\": \"http|^(?:deb|URIs:) [^$<{]*http",
    re.MULTILINE,
)


def run(*words: str) -> str:
    """Run a program; nothing when it is not here or fails."""
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout if shutil.which(words[0]) else ""


def files() -> Iterator[Path]:
    """Every file of the checkout that git knows or would add."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return (ROOT / name for name in listed if name and (ROOT / name).is_file())


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Everything that a file's syntax is made of."""
    return [*ast.walk(ast.parse(path.read_text()))]


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def prints(path: Path) -> bool:
    """Tell whether a file prints, or writes to this process's own streams."""
    calls = [node.func for node in nodes(path) if isinstance(node, ast.Call)]
    return any(
        ast.unparse(call) in ("print", "sys.stdout.write", "sys.stderr.write", "pprint.pprint") for call in calls
    )


def named(paths: Iterator[Path]) -> list[str]:
    return [str(path.relative_to(ROOT / "deploy")) for path in paths]


def test_the_docker_folder_does_not_shadow_the_sdk() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py"))
    subprocess.run([sys.executable, "-c", "from docker import DockerClient"], cwd=ROOT, check=True)


def test_only_the_console_prints() -> None:
    assert named(path for path in CODE if prints(path)) == ["core/console.py"]


def test_only_the_engine_imports_the_sdk() -> None:
    assert named(path for path in CODE if "docker" in imports(path)) == ["hosts/engine.py"]


def test_only_what_runs_by_itself_imports_apprise() -> None:
    assert named(path for path in CODE if "apprise" in imports(path)) == []
    assert "apprise" in imports(ROOT / "docker/notify/deliver.py")


def test_only_age_imports_pyrage() -> None:
    assert named(path for path in CODE if "pyrage" in imports(path)) == ["config/secrets/age.py"]


def test_only_ssh_may_import_fabric() -> None:
    assert all(
        name.startswith("hosts/ssh/") for name in named(path for path in CODE if {"fabric", "paramiko"} & imports(path))
    )


def test_no_line_of_the_code_is_longer_than_120_columns() -> None:
    """Ruff allows 140, for tables in tests."""
    folders = ("scripts", "bench", "monitoring/programs", "docker/notify", "docker/certificates")
    paths = [*CODE, ROOT / "noxfile.py", *(path for folder in folders for path in (ROOT / folder).glob("*.py"))]
    lines = ((path, number, line) for path in paths for number, line in enumerate(path.read_text().splitlines(), 1))
    assert [f"{path.relative_to(ROOT)}:{number}" for path, number, line in lines if len(line) > 120] == []


def test_this_storey_has_no_network() -> None:
    with socket.socket() as probe, pytest.raises(AssertionError, match="no network"):
        probe.connect(("127.0.0.1", 9))


def test_no_file_names_a_package_registry_or_a_place_of_this_machine() -> None:
    """Whoever installs from here does so from where the own pip, npm and apt are told to."""
    assert all(
        REGISTRY.search(line)
        for line in (b"--index%s https://x.test" % b"-url", b'"resolved%s: "https://x.test/a.tgz"' % b'"')
    )
    texts = {path: path.read_bytes() for path in files()}
    assert [path.name for path, text in texts.items() if REGISTRY.search(text) or str(ROOT).encode() in text] == []


def test_every_listed_skip_is_a_test_and_has_its_reason() -> None:
    for test, reason in tomllib.loads(conftest.LISTED.read_text()).items():
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert not name or f"def {name.split('::')[-1]}(" in (ROOT / path).read_text(), test
        assert len(reason) > 10, test


def test_files_of_integration_that_are_named_for_an_order_or_the_nights_are_there() -> None:
    texts = {path.stem: path.read_text() for path in (ROOT / "tests/integration").glob("test_*.py")}
    grouped = [name for files in order.TOGETHER for name in files]
    assert {*order.FIRST, *grouped} <= texts.keys()
    assert len({*order.FIRST}) == len(order.FIRST)
    second = [name for name, text in texts.items() if "mark.night" in text or "NIGHTS" in text]
    assert sorted(second) == noxfile.WIDER


TESTS = """
import pytest
def test_x(): pytest.skip("x")
@pytest.mark.xdist_group("group")
def test_y(record_property):
    record_property("report", "so many requests")
@pytest.mark.xdist_group("group")
def test_z(): pytest.skip("z")
"""
BEFORE = {
    "seconds": {"tests/unit/test_before.py::test_w": 90.0},
    "failed": {"tests/unit/test_before.py::test_w": "E  one is not two"},
}


def run_apart(tmp_path: Path, tests: str, *workers: str) -> tuple[int, str]:
    """Run these tests in a project of their own, after a run that kept a summary; return exit code and output."""
    (tmp_path / "tests").mkdir()
    shutil.copy(conftest.__file__, tmp_path / "tests" / "conftest.py")
    (tmp_path / "tests" / "skips.toml").write_text('"tests/test_it.py::test_x" = "there is no x here"\n')
    (tmp_path / "tests" / "test_it.py").write_text(tests)
    (tmp_path / "summary.json").write_text(json.dumps(BEFORE))
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--summary=summary.json", *workers, "tests"]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    return ran.returncode, ran.stdout


@pytest.mark.parametrize("workers", [(), ("--numprocesses=2", "--dist=loadgroup")], ids=["one process", "two workers"])
def test_a_skip_that_is_not_listed_fails_the_run_and_its_end_shows_reports_and_seconds(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    code, shown = run_apart(tmp_path, TESTS, *workers)
    assert code == 1
    assert "tests/skips.toml: tests/test_it.py::test_z\n" in shown
    assert shown.count("so many requests") == 1
    assert "    90.0  tests/unit/test_before.py::test_w\n" in shown, "of the run before"
    assert "    90.0  tests/unit: 1 tests\n" in shown
    assert "  tests/test_it.py: 3 tests\n" in shown


def test_the_end_of_the_last_run_shows_what_failed_in_each(tmp_path: Path) -> None:
    end = run_apart(tmp_path, "def test_sum(): assert sum([1, 2]) == 4\n")[1].rpartition("1 tests\n")[2]
    assert "FAILED tests/unit/test_before.py::test_w" in end
    assert "one is not two" in end
    assert "FAILED tests/test_it.py::test_sum" in end
    assert "where 3 = sum(" in end
