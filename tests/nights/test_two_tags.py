"""Two tags are pushed at once, and GitHub's queue for one environment does not hold: the lock on the host does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.integration.conftest import machine, machines
from tests.integration.test_registry import proxy
from tests.integration.test_workflows import host, protected, run, scan, serves, team
from tests.machines import Machine
from tests.support.runner import Ran, Runner
from tests.support.site import Site

__all__ = ["host", "machine", "machines", "protected", "proxy", "scan", "team"]  # fixtures
TAGS = ("v1.0.1", "v1.0.2")


def test_two_releases_tagged_at_once(team: Site, host: Machine, protected: dict[str, str], tmp_path: Path) -> None:
    """Two jobs of `deploy` begin in the same second, each on a clean checkout of its own tag."""
    for tag in TAGS:
        team.commit(f"release {tag}")
        team.git("tag", tag)

    def deploy(tag: str) -> list[Ran]:
        return run(Runner(tmp_path / tag, team.root), "deploy", f"refs/tags/{tag}", protected)

    with ThreadPoolExecutor(2) as pool:
        done = dict(zip(TAGS, pool.map(deploy, TAGS), strict=True))
    lost = [tag for tag, lines in done.items() if lines[-1].code]
    assert len(lost) < 2, [lines[-1].output for lines in done.values()]
    for tag in lost:
        assert (done[tag][-1].line.split()[1], done[tag][-1].code) == ("deploy", 4), done[tag][-1].output
        assert "locked by" in done[tag][-1].output
        done[tag] = deploy(tag)
        assert done[tag][-1].code == 0, done[tag][-1].output
    revisions = {team.git("rev-parse", tag)[:12] for tag in TAGS}
    assert serves(team, host, "prod").partition("-")[0] in revisions
