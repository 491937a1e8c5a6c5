"""The edge: configurations that it refuses or does not serve, and its death in the middle of a switch."""

from __future__ import annotations

import shutil

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.nights.night import READERS, Night, lost_nothing
from tests.nights.test_operators import crash
from tests.support.site import ROOT, docker

TEMPLATE = "nginx/site.conf.j2"
PLACE = "        location / {"
# a server of the host's own takes the inner listener: nginx -t is content, and the generation is never answered
FRAME = "nginx/frame.conf.j2"
INNER = "    include inner.conf;"
STOLEN = f"{INNER}\n    server {{ listen 9180 default_server; location / {{ return 200 'mine'; }} }}"


@pytest.mark.parametrize(
    ("template", "old", "new", "cause"),
    [
        pytest.param(
            TEMPLATE,
            PLACE,
            f"        nonsense on;\n{PLACE}",
            "nginx refuses the new configuration",
            id="unknown directive",
        ),
        pytest.param(
            TEMPLATE,
            "http://{{ live.app }}",
            "http://nowhere.invalid",
            "nginx refuses the new configuration",
            id="unknown host",
        ),
        pytest.param(FRAME, INNER, STOLEN, "did not serve generation", id="never answers its generation"),
    ],
)
def test_a_configuration_that_must_not_serve(night: Night, template: str, old: str, new: str, cause: str) -> None:
    """The template renders, and nginx -t refuses it, or it passes and does not serve what it should."""
    if template == FRAME:
        shutil.copy(ROOT / FRAME, night.site.root / FRAME)
    night.site.replace(template, old, new)
    night.site.commit("bad")
    with load.during(night.site.url, READERS) as clients:
        output = night.fails("deploy", code=1)
        lost_nothing(clients, night)
    night.says(output, cause, where="", then="inv deploy" if "refuses" in cause else "docker logs")
    assert night.serves() == night.first
    alive = [name for name, state in night.site.containers().items() if state == "running"]
    assert len(alive) == 2, "the idle colour is stopped again"
    night.site.git("revert", "--no-edit", "HEAD")
    night.morning()


MOMENTS = [
    "Switch:begin",
    "deploy.edge.switch.point:done",
    "deploy.edge.switch.prove:begin",
    "Switch:done",
    "Drain:begin",
]


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_edge_is_killed_during_the_switch(night: Night, moment: str) -> None:
    """`docker kill` of the edge, which the engine does not start again by itself."""
    night.change()
    edge = next(name for name in night.site.containers() if "-edge-" in name)
    output = night.start("deploy", at=(moment, f"docker kill {edge}")).end(None)
    night.tell(f"exit {output.code}")
    if output.code:
        night.says(output.stderr, where="", then="", serves="release")
        assert night.serves(), "the way back starts the edge"
        assert night.serves() in output.stderr.rpartition("serves:")[2], output.stderr
    night.morning()


@pytest.mark.parametrize("moment", MOMENTS)
def test_the_edge_crashes_during_the_switch(night: Night, moment: str) -> None:
    """The edge's first process is killed with -9; the engine starts it again."""
    night.change()
    with night.held(moment, "deploy") as operator:
        crash(night)
    output = operator.end(None)
    night.tell(f"exit {output.code}")
    assert wait_until(lambda: bool(night.serves()), 10)
    if output.code:
        assert night.serves() in output.stderr.rpartition("serves:")[2], output.stderr
    else:
        assert night.serves() != night.first
    night.morning()


def test_the_state_folder_is_restored_while_the_edge_runs(night: Night) -> None:
    """The edge still has the folder that was removed: a deploy says so, and what it advises leads out."""
    state = night.site.state
    kept = state.with_name("kept")
    shutil.copytree(state, kept, symlinks=True)
    shutil.rmtree(state)
    shutil.copytree(kept, state, symlinks=True)
    night.change()
    failure = night.fails("deploy", code=1)
    night.says(failure, "still has a folder that was replaced while it ran", where="", then="docker restart")
    assert night.serves() == night.first
    edge = next(name for name in night.site.containers() if "-edge-" in name)
    assert f"docker restart {edge}, an outage of seconds, then inv deploy" in failure
    docker("restart", edge)
    night.morning()
