"""A CI's machine: it runs the `run` lines of a workflow, in a clean checkout, with the variables that GitHub gives."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support import workflows
from tests.support.workflows import Step

SECRET = re.compile(r"\$\{\{ secrets\.(\w+) \}\}")
CONDITION = re.compile(r"steps\.(\w+)\.outputs\.(\w+) == '(\w*)'")
EVENT = re.compile(r"github\.event_name (==|!=) '(\w+)'")


@dataclass(frozen=True)
class Ran:
    """A line that was run, its exit code, and its output."""

    line: str
    code: int
    output: str


@dataclass(frozen=True)
class Runner:
    """Machines of a CI for one repository: each workflow gets a folder of its own, and a home with nothing in it."""

    folder: Path
    repository: Path

    def run(self, name: str, ref: str, secrets: Mapping[str, str]) -> list[Ran]:
        """Run a workflow for a branch or tag; return its lines up to the first that fails."""
        place = self.folder / f"{name}-{len([*self.folder.glob('*')])}"
        checkout = self.check_out(place, ref)
        environment = self.environment(place, checkout, ref)
        lines = list[Ran]()
        for ran in run_steps(workflows.steps(name), checkout, environment, secrets):
            lines.append(ran)
            if ran.code:
                break
        return lines

    def check_out(self, place: Path, ref: str) -> Path:
        """Clone what a ref names; the environment is this one, so that bootstrap has nothing to install."""
        checkout = place / "work"
        for folder in ("home", "temp"):
            (place / folder).mkdir(parents=True)
        clone = ["git", "clone", "--quiet", "--no-checkout", str(self.repository), str(checkout)]
        subprocess.run(clone, check=True, capture_output=True)
        for words in (("fetch", "--quiet", "origin", ref), ("checkout", "--quiet", "--detach", "FETCH_HEAD")):
            subprocess.run(["git", "-C", str(checkout), *words], check=True, capture_output=True)
        (checkout / ".venv").mkdir()
        (checkout / ".venv/bin").symlink_to(Path(sys.executable).parent)
        lock = (checkout / "requirements/dev.txt").read_bytes()
        (checkout / ".venv/lock.sha256").write_text(hashlib.sha256(lock).hexdigest())
        return checkout

    def environment(self, place: Path, checkout: Path, ref: str) -> dict[str, str]:
        """Return what a step finds: GitHub's variables, the machine's own proxy and certificates, nothing of ours."""
        head = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
        kept = {
            name: value for name, value in os.environ.items() if not re.match(r"OPS_|GIT|SSH_|XDG_|PYTEST|COV_", name)
        }
        (place / "output").touch()
        return kept | {
            "CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": event_of(ref), "GITHUB_REF": ref,
            "GITHUB_SHA": commit,
            "GITHUB_REF_NAME": ref.split("/", 2)[2], "GITHUB_WORKSPACE": str(checkout),
            "GITHUB_REPOSITORY": "team/books",
            "GITHUB_OUTPUT": str(place / "output"), "RUNNER_TEMP": str(place / "temp"), "RUNNER_OS": "Linux",
            "HOME": str(place / "home"),
        }  # fmt: skip


def run_steps(
    steps: list[Step], checkout: Path, environment: dict[str, str], secrets: Mapping[str, str]
) -> Iterator[Ran]:
    """Run the lines of the steps whose condition holds, as GitHub does."""
    output = Path(environment["GITHUB_OUTPUT"])
    for step in steps:
        if not step.run or not holds(step.condition, output.read_text(), environment["GITHUB_EVENT_NAME"]):
            continue
        own = {name: SECRET.sub(lambda match: secrets.get(match[1], ""), value) for name, value in step.env.items()}
        ran = subprocess.run(
            ["bash", "-e", "-c", step.run], cwd=checkout, env={**environment, **own}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600,
        )  # fmt: skip
        yield Ran(step.run, ran.returncode, ran.stdout)


def event_of(ref: str) -> str:
    """Name the event that has such a ref."""
    return "pull_request" if ref.startswith("refs/pull/") else "push"


def holds(condition: str, outputs: str, event: str) -> bool:
    """Tell whether a step's condition holds, by event and outputs before it; one of another form is a failure."""
    if not condition:
        return True
    if named := EVENT.fullmatch(condition):
        return (named[2] == event) is (named[1] == "==")
    form = CONDITION.fullmatch(condition)
    assert form, condition
    return f"{form[2]}={form[3]}" in outputs.splitlines()
