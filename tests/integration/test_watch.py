"""A release that is healthy and yet bad is out of service within 10 s, by itself."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.integration.test_interrupted import roll
from tests.support.site import TINY, Site, docker, make_tiny

# the frontend's files are not there: nginx looks for the index again and again, and answers 500
WRONG_ROOT = "".join(
    f"location = {path} {{ root /nowhere; try_files $uri /index.html; }}\n" for path in ("/", "/index.html")
)
ROUTES = (TINY / "nginx" / "site.conf.j2").read_text()
READERS = load.Scenario(kinds=("get", "new"), paths=("/",), rate=150, new_rate=20)


@contextmanager
def seen(site: Site) -> Iterator[dict[str, list[float]]]:
    """Note when each release answered, over new connections."""
    times: dict[str, list[float]] = {}
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            status, body = site.get("/version")
            if status == 200:
                times.setdefault(json.loads(body)["release"], []).append(time.monotonic())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield times
    finally:
        over.set()
        asking.join()


@pytest.fixture
def watched(tiny: Site) -> Site:
    """A tiny site in service, watched as long as by default."""
    del tiny.extra["OPS_ROLLOUT__WATCH"]
    tiny.inv("deploy", OPS_ROLLOUT__WATCH="0")
    return tiny


CASES = [
    pytest.param("errs", "requests that an app answered were 5xx; before, 0%", False, id="errs"),
    *(
        pytest.param(*case, id=name, marks=pytest.mark.night)
        for name, case in {
            "a wrong root": ("well", "requests that the edge answered itself were 5xx", False),
            "crawls": ("crawls", "95th percentile", False),
            "crawls next to a good one": ("crawls", "95th percentile", True),
            "stalls": ("stalls", "GET / is not answered within 2 s; in the minute before", False),
        }.items()
    ),
]
# what clients get of such a release itself; those that it never answers are cut off when it is stopped
ITS_OWN = {"errs": "status 500", "well": "status 500", "stalls": "status 502|timeout: no full response"}


@pytest.mark.alone
@pytest.mark.parametrize(("behaviour", "words", "rolling"), CASES)
def test_a_bad_release_is_out_of_service_within_ten_seconds(
    watched: Site, behaviour: str, words: str, rolling: bool
) -> None:
    if rolling:
        roll(watched)
        watched.inv("deploy", OPS_ROLLOUT__WATCH="0")
    good = watched.inv("status", "--json").document["release"]
    with load.during(watched.url, READERS) as clients, seen(watched) as times:
        assert wait_until(lambda: len(times.get(good, ())) > 40, 20), (
            "the minute before must have requests to compare with"
        )
        if behaviour == "well":  # the app, that is
            watched.write("nginx/site.conf.j2", ROUTES + WRONG_ROOT)
            watched.commit()
        failed = watched.inv("deploy", code=1, OPS_VARIABLES__BEHAVIOUR=behaviour).stderr
        report = clients.report()
    assert words in failed
    assert f"serves: release {good}" in failed
    bad = next(release for release in times if release != good)
    assert times[bad][-1] - times[bad][0] < 10
    assert watched.inv("status", "--json").document["release"] == good
    assert watched.inv("history", "--json").document[0]["outcome"] == "failed"
    # its own errors are counted apart; everything else stays 0
    assert [loss.what for loss in report.losses if not re.search(ITS_OWN.get(behaviour, "$^"), loss.what)] == []
    assert report.kinds["get"].requests > 1000


@pytest.fixture(scope="module")
def unvisited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A tiny site in service that nobody visits."""
    site = make_tiny(tmp_path_factory.mktemp("unvisited"))
    site.name_images()
    site.inv("deploy")
    yield site
    site.sweep()


def test_without_traffic_the_toolkit_probes(unvisited: Site) -> None:
    output = change(unvisited, 4)
    probes = re.search(r"low traffic: \d+ requests in 4 s; (\d+) probes were answered", output)
    assert probes, output
    assert int(probes[1]) >= 4
    assert judged_by(unvisited) == ("", "")


def change(site: Site, watch: int) -> str:
    """Deploy another release, watched for some seconds; return what was said."""
    site.write("app/app.py", (site.root / "app" / "app.py").read_text() + "\n")
    site.commit()
    return site.inv("deploy", OPS_ROLLOUT__WATCH=str(watch)).stderr


def judged_by(site: Site) -> tuple[str, str]:
    """By what the last release was judged, as history and status have it."""
    return site.inv("history", "--json").document[0]["watch"], site.inv("status", "--json").document["watch"]


def as_root(edge: str, folder: Path, *words: str) -> None:
    """Run a command of busybox on a folder of the engine's."""
    image = docker("inspect", "--format", "{{.Image}}", edge).strip()
    docker(
        "run",
        "--rm",
        "--user=0",
        "--network=none",
        f"--volume={folder}:{folder}",
        "--entrypoint=busybox",
        image,
        *words,
    )


@pytest.mark.night
def test_a_torn_log_condemns_no_release(unvisited: Site) -> None:
    """A disk that was full can leave zero bytes in the middle of the edge's log, at which the engine ends every reading.

    What the warning advises makes the log whole.
    """
    edge = f"{unvisited.app}-local-edge-1"
    path = Path(docker("inspect", "--format", "{{.LogPath}}", edge).strip())
    as_root(edge, path.parent, "sh", "-c", f"head -c 512 /dev/zero >>{path}")

    def torn() -> bool:
        unvisited.get("/")
        return subprocess.run(["docker", "logs", edge], capture_output=True).returncode != 0

    assert wait_until(torn, 20), "the engine comes to the zero bytes once enough lines stand behind them"
    output = change(unvisited, 2)
    assert "the edge's log cannot be read, and probes alone judge the release: " in output
    assert f"truncate --size=0 {path} && docker restart {edge};" in output
    assert judged_by(unvisited) == ("probed", "probed")
    assert "watch: probed" in unvisited.inv("status").stderr
    as_root(edge, path.parent, "truncate", "-s", "0", str(path))
    docker("restart", edge)
    assert wait_until(lambda: unvisited.get("/")[0] == 200, 60)
    assert "low traffic: " in change(unvisited, 2)
    assert judged_by(unvisited) == ("", "")
    assert docker("logs", "--tail=3", edge)
