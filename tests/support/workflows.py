"""The workflows as values: their jobs in the order in which they need each other, their steps and `run` lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.core import yaml
from tests.support.site import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = ("test", "build", "deploy", "security", "backup-drill")
ENVIRONMENTS = ("staging", "prod")  # that they deploy to, and of which there are examples


@dataclass(frozen=True)
class Step:
    """One step: what it runs or uses, with which variables, and whether others ask for its outputs."""

    job: str
    run: str = ""
    uses: str = ""
    id: str = ""
    condition: str = ""
    env: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def path(name: str) -> Path:
    """Return where a workflow is."""
    return FOLDER / f"{name}.yml"


def read(name: str) -> dict[str, Any]:
    """Read a workflow."""
    return dict(yaml.load(path(name).read_text()))


def steps(name: str) -> list[Step]:
    """List the steps of a workflow's jobs; a job comes after those that it needs."""
    jobs = read(name)["jobs"]
    return [
        Step(job, one.get("run", ""), one.get("uses", ""), one.get("id", ""), one.get("if", ""), one.get("env", {}),
             one.get("with", {}))
        for job in in_order(jobs)
        for one in jobs[job]["steps"]
    ]  # fmt: skip


def in_order(jobs: dict[str, Any]) -> Iterator[str]:
    """Name the jobs, each after those that it needs."""
    done: set[str] = set()
    while len(done) < len(jobs):
        ready = [name for name in jobs if name not in done and needs(jobs[name]) <= done]
        assert ready, "jobs need each other"
        yield from ready
        done.update(ready)


def needs(job: dict[str, Any]) -> set[str]:
    """Name the jobs that one needs."""
    named = job.get("needs", [])
    return {named} if isinstance(named, str) else set(named)
