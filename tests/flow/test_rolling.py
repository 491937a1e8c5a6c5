"""A rolling release on a fake host.

Whatever happens at whichever step, two replicas serve, and every command converges.
"""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import pytest

from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.rollout import commands, scale
from tests.support.place import Killed, Place

TURN = ["StartColour", "AwaitHealthy", "AwaitServed"]
STEPS = [
    "Migrate", "RunJob", *TURN, "Quiet", "Switch", "Watch", "Drain", "StopColour", "StopColour",
    *TURN, "Switch", "Watch", "Drain", "StopColour", "StopColour", "StartColour", "AwaitHealthy", "Prune",
]  # fmt: skip
EVERY_STEP = pytest.mark.parametrize(
    "number", range(len(STEPS)), ids=[f"{n} {name}" for n, name in enumerate(STEPS, 1)]
)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Return a place where three releases served with two replicas each."""
    made = Place(tmp_path_factory.mktemp("two"), replicas=2)
    for name in ("r0", "r1", "r2"):
        made.deploy(name)
    return made


@pytest.fixture
def rolled(two: Place, tmp_path: Path, no_waiting: None) -> Place:
    """Return a copy of it."""
    shutil.copytree(two.state.folder, tmp_path, symlinks=True, dirs_exist_ok=True)
    made = Place(tmp_path, replicas=2)
    made.host.engine.observed.update(two.host.engine.observed)
    made.host.generation = two.host.generation
    return made


def settled(place: Place, name: str) -> None:
    """One release runs and serves, with all its replicas, and nothing is left to do."""
    assert place.members() == [name] * 2
    assert place.containers() == sorted([("backend", name), ("worker", name)] * 2 + [("beat", name)])
    assert place.steps(name) == []


def test_the_steps_below_are_those_of_the_plan(rolled: Place) -> None:
    assert rolled.steps("r3") == STEPS


def test_replicas_change_places_one_by_one(rolled: Place) -> None:
    rolled.deploy("r3")
    settled(rolled, "r3")
    ups = [line.split(" up ")[1] for line in rolled.host.executed if " up " in line]
    assert ups[:2] == [
        f"--detach --no-deps --no-build --scale=backend-green={n} --scale=worker-green={n} backend-green worker-green"
        for n in (1, 2)
    ]
    assert (
        len([line for line in rolled.host.executed if line.startswith("docker stop") and line.count("-backend-") == 1])
        == 2
    )


def test_websockets_of_all_that_were_named_are_closed_and_those_that_stay_take_new_ones(rolled: Place) -> None:
    rolled.deploy("r3")
    web = [
        line.removeprefix("docker exec shop-local-")
        for line in rolled.host.executed
        if "-backend-" in line and line.startswith("docker exec")
    ]
    assert web == [
        "blue-backend-blue-1 drain", "blue-backend-blue-2 drain", "blue-backend-blue-2 resume",
        "blue-backend-blue-2 drain", "green-backend-green-1 drain", "green-backend-green-1 resume",
    ]  # fmt: skip


def test_a_replica_that_does_not_answer_is_not_hidden_by_those_that_do(rolled: Place) -> None:
    rolled.host.deaf = "backend-green-2"
    with pytest.raises(OpsError, match=r"backend-green-2 \(green\) answered 502 to /health"):
        rolled.deploy("r3")
    settled(rolled, "r2")


@EVERY_STEP
def test_a_failure_at_any_step_leads_back(rolled: Place, number: int) -> None:
    rolled.host.fail_at(number, lambda: None)
    with pytest.raises(OpsError) as raised:
        rolled.deploy("r3")
    assert (raised.value.code, "r2" in raised.value.serves) == (1, True)
    settled(rolled, "r2")
    assert rolled.deploy("r3").release == "r3"
    settled(rolled, "r3")


@EVERY_STEP
@pytest.mark.parametrize(
    ("state", "then"), [*product(["begin", "done"], ["resume", "abort"]), *product(["done"], ["r2", "r3", "r4"])]
)
def test_killed_at_any_step_two_serve_and_any_command_converges(
    rolled: Place, number: int, state: str, then: str
) -> None:
    rolled.host.kill_at(number, state, Killed)
    with pytest.raises(Killed):
        rolled.deploy("r3")
    assert rolled.journal()[-1]["step"] == STEPS[number]
    assert len(rolled.members()) == 2, "before any command is typed"
    if then in ("resume", "abort"):
        assert getattr(commands, then)(rolled.at)
    else:
        rolled.deploy(then)
    settled(rolled, {"resume": "r3", "abort": "r2"}.get(then, then))
    assert rolled.state.intention() is None


def test_beside_old_replicas_the_new_ones_are_asked_by_themselves(rolled: Place) -> None:
    """A release may be asked at another path than the one before, to which old replicas answer 404."""
    rolled.host.kill_at(STEPS.index("Drain"), "done", Killed)
    with pytest.raises(Killed):
        rolled.deploy("r3")
    assert len(set(rolled.members())) == 2, "old and new serve"
    route = json.loads((rolled.state.folder / "edge" / "proven" / "route.json").read_text())
    new = [name for name in route["members"] if f"-{route['colour']}-" in name]
    assert route["health"] == [f"/replica/{new[0]}:8000/health"]
    commands.resume(rolled.at)
    route = json.loads((rolled.state.folder / "edge" / "proven" / "route.json").read_text())
    assert route["health"] == [f"/{route['colour']}/backend/health"]


def test_scaling_up_and_down(place: Place) -> None:
    """New replicas are asked before the edge names them.

    Others leave the edge before they stop; the number holds from now on.
    """
    assert scale.scale(place.at, "backend=3").startswith("backend has 3 replica(s), in later")
    assert place.members() == ["r2"] * 3
    assert [line["step"] for line in place.journal() if line["state"] == "done" and "step" in line][-5:] == [
        "StartColour", "AwaitHealthy", "AwaitServed", "Switch", "Drain",
    ]  # fmt: skip
    assert scale.scale(place.at, "backend=3").startswith("backend has 3 replica(s) already")
    place.deploy("r3")
    assert place.members() == ["r3"] * 3
    scale.scale(place.at, "backend=1")
    assert (place.members(), place.containers().count(("backend", "r3"))) == (["r3"], 1)
    assert not [c for c in place.host.engine.observed.values() if c.release == "r3" and not c.alive], (
        "what was stopped is removed"
    )
    scale.scale(place.at, "worker=0")
    assert place.running() == {("backend", "r3"), ("beat", "r3")}
    assert place.steps("r3") == []


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("backend", "not SERVICE=N"), ("backend=x", "not SERVICE=N"), ("backend=-1", "not SERVICE=N"),
        ("=2", "not SERVICE=N"),
        ("backnd=2", "did you mean backend"), ("backend=0", "0 replicas; a web has 1 to 50"),
        ("beat=2", "a scheduler has 1"), ("worker=51", "a worker has 0 to 50"), ("redis=2", "a data has 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_is_refused(place: Place, wish: str, message: str) -> None:
    before = len(place.journal())
    with pytest.raises(Refused, match=message):
        scale.scale(place.at, wish)
    assert (len(place.journal()), place.state.scale()) == (before, {})


def test_replicas_that_do_not_get_well_leave_the_old_number(place: Place) -> None:
    place.host.fail_at(1, lambda: None)
    with pytest.raises(OpsError) as raised:
        scale.scale(place.at, "backend=2")
    assert (
        raised.value.code,
        "r2" in raised.value.serves,
        "inv" in raised.value.then or "docker" in raised.value.then,
    ) == (
        1,
        True,
        True,
    )
    assert (place.members(), place.state.scale()) == (["r2"], {})
    assert len(place.host.engine.observed) == len(
        {c.name for c in place.host.engine.observed.values() if c.up or c.release != "r2"}
    )


@pytest.mark.parametrize("number", range(5))
def test_scaling_that_was_killed_can_be_run_again(place: Place, number: int) -> None:
    place.host.kill_at(number, "done", Killed)
    with pytest.raises(Killed):
        scale.scale(place.at, "backend=2")
    assert set(place.members()) == {"r2"}
    scale.scale(place.at, "backend=2")
    assert place.members() == ["r2"] * 2


def test_a_number_that_a_service_can_no_longer_have_is_passed_over(place: Place) -> None:
    place.state.keep_scale({"beat": 2, "backend": 2, "gone": 3})
    place.deploy("r3")
    assert place.containers() == [("backend", "r3"), ("backend", "r3"), ("beat", "r3"), ("worker", "r3")]


def test_a_damaged_number_of_replicas_is_an_error_that_names_its_file(place: Place) -> None:
    (place.state.folder / "scale.json").write_text("{")
    with pytest.raises(OpsError, match=r"scale\.json cannot be read") as raised:
        place.steps("r3")
    assert raised.value.then.startswith("remove it")


def test_nothing_is_scaled_while_a_deploy_is_half_done(place: Place) -> None:
    place.host.kill_at(3, "done", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    with pytest.raises(Interrupted, match="a deploy was interrupted"):
        scale.scale(place.at, "backend=2")
