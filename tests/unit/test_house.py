"""The rules of the house that a linter does not hold."""

from __future__ import annotations

import ast
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.config.settings import ROOT
from tests import conftest

CODE = sorted((ROOT / "deploy").rglob("*.py"))
URL = re.compile(r"https?://([^/\s'\")]+)")


def run(*words: str) -> str:
    """Run a program; nothing when it is not here or fails."""
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout if shutil.which(words[0]) else ""


def files() -> Iterator[Path]:
    """Every file of the checkout that git knows or would add."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    return (ROOT / name for name in listed if name and (ROOT / name).is_file())


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def prints(path: Path) -> bool:
    """Tell whether a file prints, or writes to this process's own streams."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return any(ast.unparse(call) in ("print", "sys.stdout.write", "sys.stderr.write", "pprint.pprint") for call in calls)


def named(paths: Iterator[Path]) -> list[str]:
    return [str(path.relative_to(ROOT / "deploy")) for path in paths]


def test_the_docker_folder_does_not_shadow_the_sdk() -> None:
    assert not list((ROOT / "docker").rglob("__init__.py"))
    subprocess.run([sys.executable, "-c", "from docker import DockerClient"], cwd=ROOT, check=True)


def test_only_the_console_prints() -> None:
    assert named(path for path in CODE if prints(path)) == ["core/console.py"]


def test_only_the_engine_imports_the_sdk() -> None:
    assert named(path for path in CODE if "docker" in imports(path)) == ["hosts/engine.py"]


def test_only_notify_imports_apprise() -> None:
    assert named(path for path in CODE if "apprise" in imports(path)) == ["site/notify.py"]


def test_only_ssh_may_import_fabric() -> None:
    assert all(name.startswith("hosts/ssh/") for name in named(path for path in CODE if {"fabric", "paramiko"} & imports(path)))


def test_this_storey_has_no_network() -> None:
    with socket.socket() as probe, pytest.raises(AssertionError, match="no network"):
        probe.connect(("127.0.0.1", 9))


def registries() -> set[str]:
    """The hosts that this machine's package managers are told of, or take by default."""
    apt = [path for path in Path("/etc/apt").rglob("*") if path.suffix in (".list", ".sources")]
    said = [line for path in apt for line in path.read_text().splitlines() if not line.startswith("#")]
    said += [run(sys.executable, "-m", "pip", *words) for words in (("config", "list"), ("help", "install"))]
    said.append(run("npm", "config", "get", "registry"))
    return {host for text in said for host in URL.findall(text) if "." in host and not host.endswith("example.com")}


def test_no_file_names_a_package_registry_or_a_place_of_this_machine() -> None:
    forbidden = registries() - {"git.repo", "pip.pypa.io"} | {str(ROOT)}
    assert len(forbidden) > 1
    found = [(path.name, word) for path in files() for word in forbidden if word.encode() in path.read_bytes()]
    assert not found


def test_every_listed_skip_is_a_test_and_has_its_reason() -> None:
    for test, reason in tomllib.loads(conftest.LISTED.read_text()).items():
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), test
        assert not name or f"def {name.split('::')[-1]}(" in (ROOT / path).read_text(), test
        assert len(reason) > 10, test


def test_a_skip_that_is_not_listed_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(conftest.__file__, tmp_path / "tests" / "conftest.py")
    (tmp_path / "tests" / "skips.toml").write_text('"tests/test_x.py::test_x" = "there is no x here"\n')
    (tmp_path / "tests" / "test_x.py").write_text("import pytest\ndef test_x(): pytest.skip('x')\ndef test_y(): pytest.skip('y')\n")
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 1
    assert "tests/skips.toml: tests/test_x.py::test_y\n" in ran.stdout
