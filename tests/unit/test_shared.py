"""What of the shared services fails, lacks something, is restored or joined: each decision by its cases."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.config.settings import ROOT
from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.release import desired
from deploy.rollout import shared
from deploy.rollout.plan import Transition, back
from deploy.rollout.steps import RecreateShared
from tests.support.samples import COMPOSE, IMAGES, container, model, release, serving, settings

NOW, LONG_AGO, JUST_NOW = "2026-01-01T12:00:00Z", "2025-12-01T00:00:00.123456789Z", "2026-01-01T11:59:58.123456789Z"
ASSETS = "edge: {image: app/edge, volumes: [{type: volume, source: assets, target: /assets}], x-deploy: {role: edge}"


def files(*changes: tuple[str, str]) -> dict[str, str]:
    """Render the small app's compose file with these changes."""
    text = COMPOSE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return desired.render_all(settings(ROOT), model(text), IMAGES, "r", "/env")


def there(rendered: dict[str, str], **states: str) -> dict[str, Container]:
    """Make the containers that rendered files describe."""
    return {
        name: replace(container(name, state=states.get(name, "running")), networks=tuple(spec.networks),
                      mounts=tuple(spec.mounts), made_of=spec.made_of)
        for name, spec in shared.read(rendered["shared.yml"]).items()
    }  # fmt: skip


def specs(rendered: dict[str, str]) -> dict[str, shared.Spec]:
    return shared.read(rendered["shared.yml"])


PLAIN = files()
NEXT = files(("redis: {image: redis,", "redis: {image: redis, command: [typo],"))
THIRD = files(("redis: {image: redis,", "redis: {image: redis, command: [third],"))
STREET = files(("{edge: null", "{street: null"), ("networks: {edge: {}", "networks: {street: {}"))
OTHER_DATA = files(("data: null", "store: null"), ("data: {}", "store: {}"))
MOUNTED = files(("edge: {image: app/edge, x-deploy: {role: edge}", ASSETS), ("volumes: {}", "volumes: {assets: {}}"))


@pytest.mark.parametrize("state", ["running", "restarting", "exited", "dead", "created"])
def test_a_container_drifts_in_whatever_state_it_is(state: str) -> None:
    assert shared.drifted(specs(NEXT), there(PLAIN, redis=state)) == ("redis",)
    assert shared.drifted(specs(PLAIN), there(PLAIN, redis=state)) == ()


@pytest.mark.parametrize(
    ("desired", "left", "made", "former", "restored"),
    [
        pytest.param(PLAIN, NEXT, NEXT, PLAIN, ("redis",), id="recreated by the release that is left"),
        pytest.param(PLAIN, NEXT, NEXT, None, (), id="made as that says, by another before it"),
        pytest.param(PLAIN, NEXT, NEXT, THIRD, (), id="and before it as no release on the way says"),
        pytest.param(PLAIN, PLAIN, NEXT, PLAIN, (), id="made as neither says"),
        pytest.param(NEXT, PLAIN, PLAIN, NEXT, ("redis",), id="forth and back are alike"),
        pytest.param(NEXT, PLAIN, PLAIN, None, (), id="a change that was taken back in the files was never applied"),
        pytest.param(NEXT, NEXT, PLAIN, PLAIN, (), id="a change that was never applied is not applied by going back"),
        pytest.param(PLAIN, NEXT, PLAIN, PLAIN, (), id="made as the release gone back to says"),
        pytest.param(
            {"shared.yml": "services: {}"}, NEXT, NEXT, PLAIN, (), id="unheard of in the release gone back to"
        ),
        pytest.param(
            PLAIN, {"shared.yml": "services: {}"}, NEXT, PLAIN, (), id="unheard of in the release that is left"
        ),
    ],
)
def test_going_back_restores_what_the_release_that_is_left_recreated(
    desired: dict[str, str],
    left: dict[str, str],
    made: dict[str, str],
    former: dict[str, str] | None,
    restored: tuple[str, ...],
) -> None:
    was = {"redis": specs(former)["redis"].made_of} if former else {}
    assert shared.to_restore(specs(desired), specs(left), there(made), was) == restored


@pytest.mark.parametrize(
    ("state", "health", "restarts", "started", "failing", "unwell"),
    [
        ("running", "healthy", 0, JUST_NOW, False, False),
        ("running", "starting", 0, JUST_NOW, False, False),
        ("running", "", 5, LONG_AGO, False, False),
        ("running", "", 5, JUST_NOW, True, True),
        ("running", "unhealthy", 0, LONG_AGO, False, True),
        ("restarting", "", 5, JUST_NOW, True, True),
        ("dead", "", 0, LONG_AGO, True, True),
        ("created", "", 0, "0001-01-01T00:00:00Z", True, True),
        ("exited", "", 0, LONG_AGO, False, True),
    ],
)
def test_a_crash_loop_is_seen_while_it_runs_for_a_moment(
    state: str, health: str, restarts: int, started: str, failing: bool, unwell: bool
) -> None:
    seen = replace(container("redis", state=state), health=health, restarts=restarts, started=started)
    assert (shared.is_failing(seen, NOW), shared.is_unwell(seen, NOW)) == (failing, unwell)
    assert shared.is_unwell(seen, NOW, ever=True) == (unwell or restarts > 0)


@pytest.mark.parametrize(
    ("desired", "made", "lacks"),
    [
        pytest.param(PLAIN, PLAIN, {}, id="as it was"),
        pytest.param(NEXT, PLAIN, {}, id="a command alone is drift"),
        pytest.param(MOUNTED, PLAIN, {"edge": ["lacks volume assets at /assets"]}, id="a volume"),
        pytest.param(PLAIN, MOUNTED, {}, id="what the edge has besides"),
        pytest.param(STREET, PLAIN, {"edge": ["lacks network street"]}, id="a network"),
        pytest.param(
            OTHER_DATA,
            PLAIN,
            {"redis": ["lacks network store, over which backend, beat, worker must reach it"]},
            id="data",
        ),
    ],
)
def test_what_a_release_needs_and_the_services_that_are_there_lack(
    desired: dict[str, str], made: dict[str, str], lacks: dict[str, list[str]]
) -> None:
    assert shared.lacking(desired, there(made)) == lacks
    assert shared.lacking(desired, there(made, edge="exited", redis="exited")) == lacks, (
        "started as it was, it lacks the same"
    )
    assert shared.lacking(desired, {}) == {}, "what is not there is made as the files say"


@pytest.mark.parametrize(
    ("desired", "anew", "joined"),
    [
        pytest.param(PLAIN, ["edge", "redis"], [], id="all is as it was"),
        pytest.param(STREET, ["edge"], ["shop-local_street blue-backend", "shop-local_street green-backend"],
                     id="the edge's network"),
        pytest.param(OTHER_DATA, ["edge"], [], id="of a service that stays"),
        pytest.param(OTHER_DATA, ["redis"], ["shop-local_store blue-backend", "shop-local_store blue-worker",
                                             "shop-local_store green-backend"], id="data's network"),
    ],
)  # fmt: skip
def test_who_must_join_the_network_of_a_service_before_it_is_recreated(
    desired: dict[str, str], anew: list[str], joined: list[str]
) -> None:
    """Whoever reaches it now, in either colour, and runs."""
    nets = {spec.service: tuple(spec.networks) for spec in shared.read(PLAIN["blue.yml"]).values()}
    alive = [container("backend", "blue"), container("worker", "blue"), container("backend", "green")]
    ended = [container("worker", "green", state="exited"), container("site", "blue", state="exited")]
    own = [
        replace(c, networks=tuple(n for n in nets[c.service] if n.startswith("shop-local_"))) for c in (*alive, *ended)
    ]
    found = shared.connections(specs(desired), anew, [*own, *there(PLAIN).values()])
    assert [f"{network} {name.removeprefix('shop-local-').removesuffix('-1')}" for network, name in found] == joined


A, B = release("a"), release("b")


@pytest.mark.parametrize("state", ["restarting", "exited", "running"])
def test_what_is_recreated_is_not_started_as_it_was(state: str) -> None:
    facts = serving("a", "blue")
    facts = replace(
        facts,
        containers=tuple(
            replace(c, state=state, made_of="as it was") if c.service == "redis" else c for c in facts.containers
        ),
    )
    steps = [str(step) for step in Transition(B, facts, recreate=["redis"]).plan().steps]
    assert steps[0] == "recreate redis: an outage"
    assert RecreateShared(("redis",), ("as it was",)) in Transition(B, facts, recreate=["redis"]).plan().steps
    assert not any(step.startswith("start redis") for step in steps)


def test_going_back_waits_for_no_data_that_starts_over_and_over() -> None:
    facts = serving("b", "green")
    facts = replace(
        facts, containers=tuple(replace(c, state="restarting") if c.service == "redis" else c for c in facts.containers)
    )
    assert str(Transition(A, facts).plan().steps[0]) == "start redis"
    assert not any(str(step).startswith("start redis") for step in back(A, facts))
    down = replace(
        facts,
        containers=(*facts.containers[:-1], container("edge", state="restarting")),
        edge=EdgeFacts(False, 2, "green", "b"),
    )
    assert "start edge" in [str(step) for step in back(A, down)], "what the edge serves depends on it"


def test_one_that_fails_is_there() -> None:
    facts = Facts((container("redis", state="restarting"), container("edge", state="exited")))
    assert (facts.shared, set(facts.shared_existing), set(facts.shared_alive)) == ({}, {"redis", "edge"}, {"redis"})
    doubled = Facts((container("redis"), replace(container("redis", state="exited"), name="left-over")))
    assert doubled.shared_existing["redis"].state == "running"


def test_data_that_was_renamed_would_share_its_volume_with_what_still_runs() -> None:
    """Two servers on one folder of data lose what is written: a rename is no move."""
    volume = ("redis: {image: redis,", "redis: {image: redis, volumes: [{type: volume, source: kept, target: /data}],")
    named = ("volumes: {}", "volumes: {kept: {}}")
    before, after = files(volume, named), files(volume, named, ("  redis: {image", "  store: {image"))
    old = {name: c for name, c in there(before).items() if name == "redis"}
    runs = f"on which {old['redis'].name}, no longer in the compose files, still runs"
    assert shared.volume_conflicts(specs(after), old) == {
        old["redis"].name: f"store would write to shop-local_kept, {runs}"
    }
    assert shared.volume_conflicts(specs(before), old) == {}
    assert shared.volume_conflicts(specs(after), {"redis": replace(old["redis"], state="exited")}) == {}
    assert shared.volume_conflicts(specs(PLAIN), {"other": replace(old["redis"], mounts=())}) == {}
