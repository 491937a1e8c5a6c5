"""Plans as exact lists of steps, and what holds for every plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import WHOLE, Release, other
from deploy.rollout.plan import Transition, back, reverted_first
from deploy.rollout.steps import Switch
from tests.support.samples import able, container, release, rolling, serving
from tests.unit import simulator

A, B = release("a"), release("b")
FIRST = [
    "write the edge's first configuration: no release in service",
    "start redis, edge",
    "migrate the database: alembic upgrade head",
    "run site",
    "start blue: backend, worker",
    "wait until blue is healthy",
    "probe blue through the edge",
    "switch traffic to blue (generation 2) and prove it",
    "watch blue under real traffic",
    "start blue: beat",
    "wait until blue is healthy",
]
START_GREEN = [
    "run site",
    "start green: backend, worker",
    "wait until green is healthy",
    "probe green through the edge",
]
REPLACE_BLUE = [
    "switch traffic to green (generation 3) and prove it",
    "watch green under real traffic",
    "drain blue",
    "stop blue: backend",
    "stop blue: worker, beat",
    "start green: beat",
    "wait until green is healthy",
]
MIGRATE = "migrate the database: alembic upgrade head"
CLEAR_GREEN = ["drain green", "stop green: backend", "stop green: worker"]
DRAINED = B.model_copy(update={"services": tuple(
    s.model_copy(update={"deploy": s.deploy.model_copy(update={"drain": ("drain",
        )})}) if s.role == "web" else s for s in B.services
)})  # fmt: skip
ABLE = able(B)
SECURE = release("a", extra={"certificates": "certificates"})
TEMPORARY = "make a temporary certificate, where the edge has none"
NOT_YET_RETIRED = tuple(container(service, "blue", "a") for service in ("backend", "worker"))
LEFT = tuple(container(service, "green", "b") for service in ("backend", "worker"))
OLD = tuple(container(service, "green", "old") for service in ("backend", "worker"))


def without(facts: Facts, *names: str) -> Facts:
    """Let containers of these services end."""
    for victim in [c for c in facts.containers if c.service in names]:
        facts = simulator.ended(facts, victim)
    return facts


def beside(facts: Facts, *more: Container) -> Facts:
    """Add containers."""
    return replace(facts, containers=(*facts.containers, *more))


PLANS = [
    pytest.param(A, Facts(), FIRST, id="first deploy"),
    pytest.param(SECURE, Facts(), [FIRST[0], TEMPORARY, *FIRST[1:]], id="first deploy with HTTPS"),
    pytest.param(SECURE, without(serving("a", "blue"), "edge"), [TEMPORARY, "start edge"], id="edge with HTTPS down"),
    pytest.param(SECURE, serving("a", "blue"), [], id="edge with HTTPS runs"),
    pytest.param(B, serving("a", "blue"), [MIGRATE, *START_GREEN, *REPLACE_BLUE], id="second deploy"),
    pytest.param(A, serving("a", "blue"), [], id="nothing to do"),
    pytest.param(B, Facts(NOT_YET_RETIRED),
                 [*FIRST[:2], "drain blue", "stop blue: backend", "stop blue: worker", *FIRST[2:]],
                 id="an edge that knows of nothing"),
    pytest.param(B, Facts(LEFT), [*FIRST[:-2], *CLEAR_GREEN, *FIRST[-2:]],
                 id="an edge that knows of nothing, and the other colour"),
    pytest.param(A, without(serving("a", "blue"), "edge"), ["start edge"], id="edge down"),
    pytest.param(A, without(serving("a", "blue"), "worker"),
                 [MIGRATE, *START_GREEN, *REPLACE_BLUE[:4], "stop blue: beat", *REPLACE_BLUE[5:]],
                 id="live colour with a stopped worker"),
    pytest.param(A, beside(serving("a", "blue"), *LEFT), CLEAR_GREEN,
                 id="serves already, leftovers in the idle colour"),
    pytest.param(B, beside(serving("a", "blue"), *OLD), [*CLEAR_GREEN, MIGRATE, *START_GREEN, *REPLACE_BLUE],
                 id="leftovers of another release go first"),
    pytest.param(B, beside(serving("a", "blue"), *LEFT), [MIGRATE, START_GREEN[3], *REPLACE_BLUE],
                 id="leftovers of this release are used"),
    pytest.param(DRAINED, beside(serving("a", "blue"), *LEFT), [*CLEAR_GREEN, MIGRATE, *START_GREEN, *REPLACE_BLUE],
                 id="but not those whose drain cannot be taken back"),
    pytest.param(ABLE, beside(serving("a", "blue"), *LEFT),
                 [MIGRATE, "let green work as before: backend, worker", START_GREEN[3],
                  "let blue take no new tasks: worker", *REPLACE_BLUE],
                 id="a drain that can be taken back is taken back; old workers take nothing new before the switch"),
    pytest.param(A, without(serving("a", "blue"), "beat"), ["start blue: beat", "wait until blue is healthy"],
                 id="a stopped scheduler"),
    pytest.param(B, beside(replace(serving("b", "green", 3), accepted="a"), *NOT_YET_RETIRED),
                 ["watch green under real traffic", "drain blue", "stop blue: backend", "stop blue: worker"],
                 id="cut off in the watch"),
    pytest.param(B, replace(serving("a", "blue"), orphans=("migration",)),
                 ["wait for what an interrupted run left: migration", MIGRATE, *START_GREEN, *REPLACE_BLUE],
                 id="orphaned migration"),
    pytest.param(B, replace(serving("a", "blue"), edge=replace(serving("a", "blue").edge, unproven=3)),
                 ["take back the edge's generation 3, which was never proven", MIGRATE, *START_GREEN,
                  "switch traffic to green (generation 4) and prove it", *REPLACE_BLUE[1:]], id="unproven generation"),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "facts", "steps"), PLANS)
def test_exact_plan(wanted: Release, facts: Facts, steps: list[str]) -> None:
    plan = Transition(wanted, facts).plan()
    assert [str(step) for step in plan.steps] == steps
    after = simulator.run(plan.steps, facts, wanted)
    assert (after.edge.colour, after.edge.release) == (plan.colour, wanted.id)
    assert Transition(wanted, after).plan().steps == ()


START_WEB = ["start green: backend", "wait until green is healthy", "probe green through the edge"]
HAND_BACK = [
    "switch traffic to green (generation 3) and prove it", "drain blue", "stop blue: backend", "stop blue: beat",
    "start green: worker", "wait until green is healthy", "stop blue: worker", "start green: beat",
    "wait until green is healthy",
]  # fmt: skip


def test_a_rollback_does_not_migrate_and_forgets_at_the_end() -> None:
    plan = Transition(B, serving("a", "blue"), forward=False, expired=["x", "y"]).plan()
    assert [str(step) for step in plan.steps] == [*START_WEB, *HAND_BACK, "forget 2 old release(s)"]
    assert (plan.colour, plan.generation) == ("green", 3)


def test_a_rollback_runs_the_jobs_that_say_so() -> None:
    publishing = tuple(
        s.model_copy(update={"deploy": s.deploy.model_copy(update={"on_rollback": True})}) if s.role == "job" else s
        for s in B.services
    )
    steps = Transition(B.model_copy(update={"services": publishing}), serving("a", "blue"), forward=False).plan().steps
    assert [str(step) for step in steps] == ["run site", *START_WEB, *HAND_BACK]


def test_what_jobs_have_migrated_is_remembered_after_them() -> None:
    blocks = {"backend": {"migrate": (), "migrations": ("./migrations",)}}
    services = tuple(
        s.model_copy(update={"deploy": s.deploy.model_copy(update=blocks.get(s.name, {}))}) for s in B.services
    )
    steps = [
        str(step) for step in Transition(B.model_copy(update={"services": services}), serving("a", "blue")).plan().steps
    ]
    assert steps[:2] == ["run site", "remember the migrations: ./migrations"]


def test_a_rollback_keeps_the_workers_until_their_own_tasks_are_done() -> None:
    steps = [str(step) for step in Transition(ABLE, serving("a", "blue"), forward=False).plan().steps]
    waiting = steps.index("wait for tasks that only worker of blue knows")
    assert steps.index("drain blue") < waiting < steps.index("start green: worker") < steps.index("stop blue: worker")


def test_a_warm_colour_is_one_switch_away() -> None:
    kept = beside(serving("a", "blue"), container("backend", "green", "b"))
    assert [str(step) for step in Transition(ABLE, kept, forward=False, warm=True).plan().steps][:3] == [
        "let green work as before: backend", "probe green through the edge",
        "switch traffic to green (generation 3) and prove it",
    ]  # fmt: skip
    assert Transition(able(A), kept, warm=True).plan().steps == ()
    assert [str(step) for step in Transition(able(A), kept).plan().steps][-2:] == ["drain green", "stop green: backend"]
    assert "stop blue: backend" not in [
        str(step) for step in Transition(B, serving("a", "blue"), warm=True).plan().steps
    ]


ROLLED = rolling(B, 2)
HALF = serving("a", "blue")
TWO = replace(
    HALF,
    containers=(*HALF.containers, *(container(service, "blue", "a", number=2) for service in ("backend", "worker"))),
)
ROLLING = [
    MIGRATE, "run site",
    "start green: backend, worker, up to 1 of each", "wait until green is healthy", "probe green through the edge",
    "switch traffic to green, mixed with 1 of the other colour (generation 3) and prove it",
    "watch green under real traffic", "drain blue", "stop blue: backend (but 1)", "stop blue: worker (but 1)",
    "start green: backend, worker", "wait until green is healthy", "probe green through the edge",
    "switch traffic to green (generation 4) and prove it", "watch green under real traffic",
    "drain blue", "stop blue: backend", "stop blue: worker, beat", "start green: beat", "wait until green is healthy",
]  # fmt: skip


def test_a_rolling_release_takes_a_turn_for_each_replica() -> None:
    assert [str(step) for step in Transition(ROLLED, TWO).plan().steps] == ROLLING


def test_what_another_release_serves_beside_is_not_done() -> None:
    facts = replace(
        TWO, edge=replace(TWO.edge, members=(TWO.containers[0].name, LEFT[0].name)), containers=(*TWO.containers, *LEFT)
    )
    after = simulator.run(Transition(A, facts).plan().steps, facts, A)
    assert {c.release for c in after.named} == {"a"}


def serving_replicas(facts: Facts) -> int:
    return sum(c.up for c in facts.containers if c.name in facts.edge.members)


@pytest.mark.parametrize("forward", [True, False], ids=["forward", "back"])
@pytest.mark.parametrize(("replicas", "before"), [(2, 2), (3, 3), (5, 5), (2, 5), (5, 2)])
def test_rolling_never_serves_with_fewer_replicas_and_runs_one_more_at_most(
    replicas: int, before: int, forward: bool
) -> None:
    """Also when it fails at any step and goes back.

    One more yet where a turn was cut off before its old replica was stopped.
    """
    old, new = rolling(able(A), before), rolling(able(B), replicas)
    facts = simulator.run(Transition(old, Facts()).plan().steps, Facts(), old)
    plan = Transition(new, facts, forward=forward).plan().steps
    for done in range(len(plan) + 1):
        after = facts
        for step in plan[:done]:
            after = simulator.apply(step, after, new)
            assert serving_replicas(after) >= min(replicas, before), step
            for service in ("backend", "worker"):
                assert sum(c.alive for c in after.containers if c.service == service) <= max(replicas, before) + 1
        for step in back(old, after):
            after = simulator.apply(step, after, old)
            assert serving_replicas(after) >= min(replicas, before), step
            assert sum(c.alive for c in after.containers if c.service == "backend") <= max(replicas, before) + 2
        assert (after.edge.release, Transition(old, after).plan().steps) == ("a", ())


@pytest.mark.parametrize("state", ["restarting", "paused"])
def test_what_only_seems_stopped_is_stopped_too(state: str) -> None:
    facts = serving("a", "blue")
    sick = replace(
        facts, containers=tuple(replace(c, state=state) if c.role == "scheduler" else c for c in facts.containers)
    )
    steps = [str(step) for step in Transition(B, sick).plan().steps]
    assert steps.index("stop blue: worker, beat") < steps.index("start green: beat")


@pytest.mark.parametrize("done", range(len(Transition(B, serving("a", "blue")).plan().steps) + 1))
def test_the_way_back_from_every_point(done: int) -> None:
    facts = serving("a", "blue")
    failed = simulator.run(Transition(B, facts).plan().steps[:done], facts, B)
    way = back(A, failed)
    assert not {"Migrate", "Watch"} & {step.name for step in way}
    after = simulator.run(way, failed, A)
    assert (after.edge.release, Transition(A, after).plan().steps) == ("a", ())


@pytest.mark.parametrize("done", range(len(FIRST) + 1))
def test_the_way_back_of_a_first_deploy_leaves_nothing_running(done: int) -> None:
    failed = simulator.run(Transition(A, Facts()).plan().steps[:done], Facts(), A)
    after = simulator.run(back(None, failed), failed, A)
    assert after.edge.colour is None
    assert not [c for c in after.containers if c.colour and c.alive]
    assert Transition(A, simulator.run(Transition(A, after).plan().steps, after, A)).plan().steps == ()


RELEASES = [
    A, B, release("c", without=("worker",)), able(release("d", extra={"mailer": "worker"})),
    release("e", without=("beat", "worker")),
    able(release("f")), rolling(release("g"), 3), rolling(able(release("h", extra={"mailer": "worker"})), 2),
    release("i").scaled({"backend": 2}),
]  # fmt: skip
EVENTS = st.one_of(
    st.tuples(st.just("deploy"), st.sampled_from(RELEASES), st.integers(0, 30)),
    st.tuples(st.just("fail"), st.sampled_from(RELEASES), st.integers(0, 30)),
    st.tuples(st.sampled_from(["die", "orphan", "unproven"]), st.just(A), st.integers(0, 14)),
    st.tuples(st.just("rollback"), st.sampled_from(RELEASES), st.integers(0, 30)),
)


def kept(name: str | None) -> Release | None:
    """Find a release by its id."""
    return next((release for release in RELEASES if release.id == name), None)


def unhalved(facts: Facts, wanted: Release) -> Facts:
    """Go back first from a release that is half in service, as a deploy of a third one does."""
    before = kept(reverted_first(wanted, facts))
    return simulator.run(back(before, facts), facts, before) if before else facts


def happen(facts: Facts, kind: str, wanted: Release, number: int) -> Facts:
    """Deploy up to a step, fail there and go back, or lose a container."""
    if kind == "orphan":
        return replace(facts, orphans=("migration",))
    if kind == "unproven" and facts.edge.running:
        return replace(facts, edge=replace(facts.edge, unproven=facts.edge.next))
    if kind == "die":
        mortal = [c for c in facts.containers if c.alive and not (c.role == "web" and c.colour == facts.edge.colour)]
        return simulator.ended(facts, mortal[number % len(mortal)]) if mortal else facts
    facts = unhalved(facts, wanted)
    after = simulator.run(Transition(wanted, facts, forward=kind != "rollback").plan().steps[:number], facts, wanted)
    before = kept(facts.edge.release if not facts.mixed else facts.mixed[0].release)
    return simulator.run(back(before, after), after, before or wanted) if kind == "fail" else after


@examples(max_examples=300)
@given(st.lists(EVENTS, max_size=6), st.sampled_from(RELEASES), st.booleans())
def test_from_any_reachable_state_one_plan_is_enough(
    events: list[tuple[str, Release, int]], wanted: Release, forward: bool
) -> None:
    facts = Facts(edge=EdgeFacts())
    for event in events:
        facts = happen(facts, *event)
    facts = unhalved(facts, wanted)
    after = simulator.run(Transition(wanted, facts, forward=forward).plan().steps, facts, wanted)
    assert after.edge.release == wanted.id
    assert Transition(wanted, after).plan().steps == ()
    running = sorted(c.service for c in after.containers if c.alive and c.colour)
    assert running == sorted(s.name for s in wanted.of("web", "worker", "scheduler") for _ in range(s.replicas))
    assert set(after.edge.members) == {c.name for c in after.containers if c.role == "web" and c.alive}
    assert not [c for c in after.of(other(after.edge.colour)) if c.alive]


def changed(found: Release, **deploy: object) -> Release:
    """Change the x-deploy block of the web services."""
    services = tuple(
        s.model_copy(update={"deploy": s.deploy.model_copy(update=deploy)}) if s.role == "web" else s
        for s in found.services
    )
    return found.model_copy(update={"services": services})


UNKNOWN_TO_THE_EDGE = [
    pytest.param(release("b", extra={"admin": "web"}), "admin", id="a web service was added"),
    pytest.param(release("b", without=("backend",), extra={"api": "web"}), "api", id="a web service was renamed"),
    pytest.param(changed(B, port=9000), "backend", id="a web service listens on another port"),
    pytest.param(
        B.model_copy(update={"services": tuple(
            s.model_copy(update={"behind": ("10.0.0.9",)}) if s.role == "web" else s for s in B.services
        )}), "backend", id="a web service is on one more host behind the edge",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "service"), UNKNOWN_TO_THE_EDGE)
@pytest.mark.parametrize("forward", [True, False], ids=["deploy", "rollback"])
def test_what_the_edge_does_not_know_is_registered_before_it_is_probed(
    wanted: Release, service: str, *, forward: bool
) -> None:
    """The edge is asked about what it does not know yet: only a generation that knows it can be probed."""
    facts = serving("a", "blue")
    plan = Transition(wanted, facts, forward=forward).plan()
    steps = [str(step) for step in plan.steps]
    registered = steps.index(f"register green with the edge (generation 3): {service}; traffic stays")
    assert steps.index("wait until green is healthy") < registered == steps.index("probe green through the edge") - 1
    assert registered < steps.index("switch traffic to green (generation 4) and prove it")
    after = simulator.run(plan.steps, facts, wanted)
    assert (after.edge.release, after.edge.generation) == (wanted.id, 4)
    assert Transition(wanted, after).plan().steps == ()


def test_after_a_failed_first_deploy_other_services_are_registered() -> None:
    """The first generation was rendered for a release that never served; the next one may have other services."""
    facts = Facts(edge=EdgeFacts(True, 1, upstreams=simulator.upstreams(A, "blue", "green")))
    renamed = release("b", without=("backend",), extra={"api": "web"})
    steps = [str(step) for step in Transition(renamed, facts).plan().steps]
    assert "register blue with the edge (generation 2): api; traffic stays" in steps
    assert simulator.run(Transition(renamed, facts).plan().steps, facts, renamed).edge.release == "b"


def test_the_edge_of_another_host_registers_for_those_behind_it() -> None:
    behind = replace(serving("a", "blue"), edge=replace(serving("a", "blue").edge, front="front", running=False))
    assert not any(step.name == "RegisterColour" for step in Transition(changed(B, port=9000), behind).plan().steps)


def framed(frame: str, accepted: str = "one") -> Facts:
    """A site that serves A in a frame, and whose ledger has what was accepted."""
    facts = serving("a", "blue")
    return replace(facts, edge=replace(facts.edge, frame=frame), frame=accepted, accepted="a")


def test_a_frame_that_has_changed_is_a_switch_of_what_serves_and_its_watch() -> None:
    facts = framed("one")
    plan = Transition(A, facts, frame="two").plan()
    number = facts.edge.next
    lines = [
        f"switch traffic to blue, in another frame (generation {number}) and prove it",
        "watch blue under real traffic",
    ]
    assert ([str(step) for step in plan.steps], plan.generation) == (lines, number)
    after = simulator.run(plan.steps, facts, A)
    assert not Transition(A, after, frame="two").plan().steps
    assert Transition(B, facts, frame="one").plan() == Transition(B, facts).plan(), "the frame that stands is no change"


def test_only_a_deploy_changes_the_frame_and_going_back_restores_what_was_accepted() -> None:
    changed = framed("two")
    assert [step.frame for step in back(A, changed) if isinstance(step, Switch)] == ["one"]
    assert [step.frame for step in back(B, changed) if isinstance(step, Switch)] == ["one"]
    for facts in (framed("two", "two"), framed("two", "")):
        assert not [
            step
            for step in Transition(B, facts, forward=False, frame="three").plan().steps
            if getattr(step, "frame", "")
        ]
    without_edge = release("a", without=("edge",))
    assert not [
        step for step in Transition(without_edge, framed("one"), frame="two").plan().steps if getattr(step, "frame", "")
    ]


def test_what_an_older_toolkit_serves_is_not_switched_for_its_frame_alone() -> None:
    """Its release has no routes of its own."""
    assert not Transition(A, framed(WHOLE, WHOLE), frame="one").plan().steps


def test_an_edge_that_is_recreated_with_https_finds_a_certificate() -> None:
    steps = [str(step) for step in Transition(SECURE, serving("a", "blue"), recreate=("edge",)).plan().steps]
    assert steps[:2] == [TEMPORARY, "recreate edge: an outage"]
    assert TEMPORARY not in [
        str(step) for step in Transition(SECURE, serving("a", "blue"), recreate=("redis",)).plan().steps
    ]
