"""Shared services that fail or lack something: refused, recreated and restored, on a fake host."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.config.settings import ROOT
from deploy.core.errors import OpsError, Refused
from deploy.core.facts import Container
from deploy.edge import running
from deploy.images import build as images
from deploy.release import desired
from deploy.rollout import commands, health, preflight, releases, shared, show, steps
from deploy.site.facts import observe
from deploy.site.run import Run
from deploy.state.store import Bundle
from tests.support.fake import Broken
from tests.support.faults import fail_at, nth, once, when
from tests.support.place import Killed, Place, bundled
from tests.support.samples import COMPOSE, IMAGES, model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")
Printed = pytest.CaptureFixture[str]
REDIS = ("redis: {image: redis,", "redis: {image: redis, command: [other],")
EDGE = ("edge: {image: app/edge, x-deploy: {role: edge}",
        "edge: {image: app/edge, volumes: [{type: volume, source: assets, target: /assets}], x-deploy: {role: edge}")  # fmt: skip
VOLUME = ("volumes: {}", "volumes: {assets: {}}")
THIRD = ("redis: {image: redis,", "redis: {image: redis, command: [third],")


@cache
def made(name: str, *changes: tuple[str, str]) -> Bundle:
    """Make a release of the small app with these changes of its compose file."""
    text = COMPOSE
    for old, new in changes:
        text = text.replace(old, new)
    return replace(bundled(name), files=desired.render_all(settings(ROOT), model(text), IMAGES, name, "/env"))


def spec(bundle: Bundle, service: str) -> shared.Spec:
    return shared.read(bundle.files["shared.yml"])[service]


class Shop(Place):
    """A place whose checkout is a bundle, and which serves its first release."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.bundle = made("r1")
        ready = preflight.Ready({}, None, None, None, (), ())  # type: ignore[arg-type]  # nothing is built

        def checked(_at: object, _facts: object, include: str = "") -> preflight.Ready:
            return replace(ready, recreate=tuple(filter(None, include.split(","))))

        monkeypatch.setattr(preflight, "require_deployable", checked)
        monkeypatch.setattr(releases, "assemble_bundles", lambda *_: {self.host.name: self.bundle})
        monkeypatch.setattr("deploy.rollout.steps.shared.ANSWERS_WITHIN", 0.2)
        monkeypatch.setattr(running, "require_version", lambda *_: None)
        monkeypatch.setattr(images, "uses_containerd_store", lambda *_: True)
        self.put("r1")

    def put(self, name: str, *changes: tuple[str, str], include: str = "") -> None:
        """Deploy a release with these changes."""
        self.bundle = made(name, *changes)
        commands.deploy(self.at, include=include)

    def there(self, service: str) -> Container:
        return observe(self.settings, self.host).shared_existing[service]

    def loop(self, service: str) -> None:
        """Let a shared service start over and over."""
        self.host.engine.change(self.there(service).name, state="restarting", health="", restarts=3)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(tmp_path, monkeypatch)


def unchanged(shop: Shop, act: Callable[[], object]) -> Refused:
    """Do what must be refused, with nothing changed."""
    before = dict(shop.host.engine.observed), shop.journal(), shop.state.kept()
    with pytest.raises(Refused) as raised:
        act()
    assert (dict(shop.host.engine.observed), shop.journal(), shop.state.kept()) == before
    return raised.value


def test_what_fails_as_it_is_and_is_right_in_the_files_is_named_with_the_way_out(shop: Shop) -> None:
    shop.loop("redis")
    error = unchanged(shop, lambda: shop.put("r2", REDIS))
    assert "localhost: redis is restarting, restarted 3 times" in error.what
    assert "inv deploy --include=redis" in error.then
    shop.put("r2", REDIS, include="redis")
    assert (shop.there("redis").state, shop.there("redis").made_of) == (
        "running",
        spec(made("r2", REDIS), "redis").made_of,
    )
    assert shop.serving() == "r2"


def test_what_fails_and_is_the_same_in_the_files_is_named_with_the_way_out_after_it_failed(shop: Shop) -> None:
    shop.loop("redis")
    shop.host.bad = {shop.there("redis").made_of}
    with pytest.raises(OpsError) as raised:
        shop.put("r2")
    assert re.search(
        r"docker logs shop-local-redis-1; fix it in the compose file, then inv deploy --include=redis",
        raised.value.then,
    )
    shop.host.bad = set()
    shop.put("r2", include="redis")
    assert (shop.there("redis").state, shop.serving()) == ("running", "r2"), (
        "--include recreates what fails, the same or not"
    )


def test_what_waits_to_be_started_again_is_started_at_once(shop: Shop) -> None:
    """The cause is gone, as a full disk or a lost folder of the edge, and the engine waits up to a minute."""
    shop.loop("redis")
    shop.put("r2")
    assert (shop.there("redis").state, shop.serving()) == ("running", "r2")


def test_a_service_that_a_deploy_broke_is_restored_when_it_goes_back(shop: Shop) -> None:
    shop.host.bad = {spec(made("r2", REDIS), "redis").made_of}
    with pytest.raises(OpsError) as raised:
        shop.put("r2", REDIS, include="redis")
    assert (raised.value.code, "release r1" in raised.value.serves) == (1, True)
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", spec(made("r1"), "redis").made_of)


@pytest.mark.parametrize("fails", [True, False])
def test_a_later_failure_restores_only_what_fails(shop: Shop, fails: bool) -> None:
    """One that a deploy has recreated and that is well is no reason for another outage."""
    if fails:
        nth(shop.host, "Drain", "begin", 1, lambda: shop.loop("redis"))
    fail_at(shop.host, "Drain")
    with pytest.raises(OpsError, match="Drain failed"):
        shop.put("r2", REDIS, include="redis")
    left = made("r1") if fails else made("r2", REDIS)
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", spec(left, "redis").made_of)
    assert shop.serving() == "r1"


def test_a_crash_loop_without_a_health_check_is_no_service_that_runs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs for a moment each time, and is looked at just then."""
    broken, listed = spec(made("r2", REDIS), "redis").made_of, shop.host.engine.containers
    monkeypatch.setattr("deploy.rollout.steps.shared.STEADY_SECONDS", 0.2)
    looks: list[int] = []

    def flickering(environment: str) -> tuple[Container, ...]:
        looks.extend([1] if any(c.made_of == broken for c in shop.host.engine.observed.values()) else [])
        return tuple(
            replace(c, health="", restarts=len(looks) // 3) if c.made_of == broken else c for c in listed(environment)
        )

    monkeypatch.setattr(shop.host.engine, "containers", flickering)
    with pytest.raises(OpsError, match="did not become healthy"):
        shop.put("r2", REDIS, include="redis")
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", spec(made("r1"), "redis").made_of)


def test_what_no_release_has_applied_is_not_applied_by_going_back(shop: Shop) -> None:
    shop.put("r2", REDIS)
    when(shop.host, "Switch", "begin", lambda: shop.loop("redis"))
    fail_at(shop.host, "Switch")
    with pytest.raises(OpsError, match="Switch failed"):
        shop.put("r3")
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("restarting", spec(made("r1"), "redis").made_of)
    assert shop.serving() == "r2"


def test_an_abort_restores_what_the_interrupted_deploy_broke(shop: Shop) -> None:
    shop.host.kill_at(0, "done", Killed)
    with pytest.raises(Killed):
        shop.put("r2", REDIS, include="redis")
    shop.loop("redis")
    assert commands.abort(shop.at)
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", spec(made("r1"), "redis").made_of)
    assert shop.serving() == "r1"


def test_a_rollback_restores_what_the_release_that_is_left_broke(shop: Shop) -> None:
    shop.put("r2", REDIS, include="redis")
    shop.loop("redis")
    commands.rollback(shop.at)
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", spec(made("r1"), "redis").made_of)
    assert shop.serving() == "r1"


def test_a_rollback_leaves_what_fails_for_another_reason_and_says_so(shop: Shop, capsys: Printed) -> None:
    shop.put("r2")
    shop.loop("redis")
    commands.rollback(shop.at)
    assert (shop.there("redis").state, shop.serving()) == ("restarting", "r1")
    assert (
        "redis is restarting, restarted 3 times, and stays as it is; inv rollback --to=r1 --include=redis recreates it"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("back", [
    pytest.param(lambda shop, include: commands.rollback(shop.at, include=include), id="rollback"),
    pytest.param(lambda shop, include: commands.deploy(shop.at, to="r1", include=include), id="deploy --to"),
])  # fmt: skip
def test_include_goes_with_an_earlier_release(shop: Shop, back: Callable[[Shop, str], object]) -> None:
    shop.put("r2", REDIS, include="redis")
    error = unchanged(shop, lambda: back(shop, "redis,backend"))
    assert ("backend is no shared service" in error.what, error.then) == (True, "some of: redis, edge")
    back(shop, "redis")
    assert (shop.there("redis").made_of, shop.serving()) == (spec(made("r1"), "redis").made_of, "r1")


def test_an_edge_that_lacks_what_routes_need_is_refused_before_the_switch(shop: Shop, capsys: Printed) -> None:
    """By deploy, rollback and resume; a plan shows it."""
    error = unchanged(shop, lambda: shop.put("r2", EDGE, VOLUME))
    assert ("localhost: edge lacks volume assets at /assets" in error.what, error.where) == (True, "localhost")
    assert "inv deploy --include=edge" in error.then
    show.plan(commands.plan(shop.at), shop.settings, json=False)
    output = capsys.readouterr().err
    assert ("edge lacks volume assets at /assets" in output, "next: inv deploy --include=edge" in output) == (
        True,
        True,
    )
    shop.put("r2", EDGE, VOLUME, include="edge")
    shop.put("r3")
    assert "inv rollback --include=edge" not in capsys.readouterr().err, "what the edge has besides harms nobody"
    shop.host.engine.change("shop-local-edge-1", mounts=())
    assert "inv rollback --include=edge" in unchanged(shop, lambda: commands.rollback(shop.at)).then
    assert "inv rollback --to=r2 --include=edge" in unchanged(shop, lambda: commands.deploy(shop.at, to="r2")).then
    commands.rollback(shop.at, include="edge")
    assert shop.serving() == "r2"


def test_resume_refuses_an_edge_that_lacks_what_routes_need(shop: Shop) -> None:
    shop.host.kill_at(0, "begin", Killed)
    with pytest.raises(Killed):
        shop.put("r2", EDGE, VOLUME, include="edge")
    error = unchanged(shop, lambda: commands.resume(shop.at))
    assert re.search("inv abort; or, .*inv deploy --include=edge", error.then)
    shop.put("r2", EDGE, VOLUME, include="edge")
    assert shop.serving() == "r2"


def test_an_edge_without_a_mount_that_it_had_is_restored_when_what_was_begun_is_undone(shop: Shop) -> None:
    shop.put("r2", EDGE, VOLUME, include="edge")
    fail_at(shop.host, "Switch")
    with pytest.raises(OpsError, match="Switch failed"):
        shop.put("r3", include="edge")
    assert shop.there("edge").made_of == spec(made("r2", EDGE, VOLUME), "edge").made_of


def deaf_while(shop: Shop, monkeypatch: pytest.MonkeyPatch, wrong: Iterable[str]) -> None:
    """Let the app not answer through an edge that is made of something, or while data is."""
    get, number = shop.host.get, len(shop.host.engine.observed)

    def answer(port: int, path: str, **more: Any) -> tuple[int, str]:
        there = {c.made_of for c in [*shop.host.engine.observed.values()]}
        bad = there & {*wrong} or len(shop.host.engine.observed) < number  # it is being recreated just now
        return (502, "") if bad and path != "/generation" else get(port, path, **more)

    monkeypatch.setattr(shop.host, "get", answer)


def test_an_app_that_answered_before_and_not_after_is_a_failure_and_the_edge_is_restored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    deaf_while(shop, monkeypatch, [spec(made("r2", EDGE, VOLUME), "edge").made_of])
    with pytest.raises(OpsError, match="edge was recreated, and the app has not answered since") as raised:
        shop.put("r2", EDGE, VOLUME, include="edge")
    assert ("release r1" in raised.value.serves, "inv deploy --include=edge" in raised.value.then) == (True, True)
    output = capsys.readouterr().err
    assert "outage: at most" not in output.partition("going back")[0]
    assert (shop.there("edge").made_of, shop.serving()) == (spec(made("r1"), "edge").made_of, "r1")
    assert health.is_serving(Run(shop.settings, shop.host, made("r1"), observe(shop.settings, shop.host)))


def test_an_app_that_did_not_answer_before_is_no_failure_of_what_is_recreated(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    shop.state.keep(made("r2", REDIS))
    deaf_while(shop, monkeypatch, [spec(made(*release), "redis").made_of for release in (("r1",), ("r2", REDIS))])
    run = Run(shop.settings, shop.host, made("r2", REDIS), observe(shop.settings, shop.host))
    steps.RecreateShared(("redis",)).perform(run)
    assert "the app did not answer here before, so no outage is known" in capsys.readouterr().err


def test_the_outage_that_is_stated_lasts_from_before_the_stop_until_the_app_answers_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """It is never less than what visitors saw, also where the app answers some time after the service is healthy."""
    get, recreate, stopped = shop.host.get, shop.host.recreate, list[float]()

    def answer(port: int, path: str, **more: Any) -> tuple[int, str]:
        late = bool(stopped) and time.monotonic() < stopped[0] + 0.2
        return (502, "") if late else get(port, path, **more)

    def stop(file: Path, names: Sequence[str]) -> None:
        stopped.append(time.monotonic())
        recreate(file, names)

    monkeypatch.setattr(shop.host, "get", answer)
    monkeypatch.setattr(shop.host, "recreate", stop)
    shop.put("r2", REDIS, include="redis")
    stated = re.search(r"outage: at most (\d+\.\d) s; the app answers again", capsys.readouterr().err)
    assert stated
    assert 0.2 <= float(stated[1]) < 3


def test_what_serves_joins_the_network_of_a_recreated_edge_before_the_old_one_goes(shop: Shop) -> None:
    """And the network is made before that; the release of another network is gone back to with --include."""
    street = (("{edge: null", "{street: null"), ("networks: {edge: {}", "networks: {street: {}"))
    assert "edge lacks network street" in unchanged(shop, lambda: shop.put("r2", *street)).what
    bundle = made("r2", *street)
    shop.bundle = replace(bundle, release=bundle.release.model_copy(update={"resources": ("shop-local_street",)}))
    commands.deploy(shop.at, include="edge")
    lines = [
        line
        for line in shop.host.executed
        if re.search(" create .*ops-holder| network connect |--force-recreate", line)
    ]
    assert [re.sub(".* (create|connect|--force-recreate) ", r"\1 ", line) for line in lines] == [
        "create --no-recreate --no-build ops-holder",
        "connect shop-local_street shop-local-blue-backend-blue-1",
        "--force-recreate edge",
    ]
    assert "edge lacks network edge" in unchanged(shop, lambda: commands.rollback(shop.at)).what
    commands.rollback(shop.at, include="edge")
    assert shop.serving() == "r1"


def test_what_serves_is_named_while_the_edge_has_no_mount_for_it(shop: Shop, capsys: Printed) -> None:
    shop.put("r2", EDGE, VOLUME, include="edge")
    shop.put("r3", include="edge")
    assert "until the switch the edge of release r2 lacks volume assets at /assets" in capsys.readouterr().err


def test_a_refusal_is_no_deploy(shop: Shop) -> None:
    """Nothing is written down of it, so there is nothing to resume."""
    once(shop.host, "journal.jsonl", Broken("something was written down"))
    unchanged(shop, lambda: shop.put("r2", EDGE, VOLUME))


def test_a_journal_of_another_hand_restores_nothing(shop: Shop) -> None:
    """What cannot be read of what was recreated keeps nobody from going back."""
    shop.put("r2", REDIS, include="redis")
    journal = shop.state.folder / "journal.jsonl"
    journal.write_text(re.sub(r'"former": \[[^]]*\]', '"former": 7', journal.read_text()))
    shop.loop("redis")
    commands.rollback(shop.at)
    assert (shop.there("redis").state, shop.serving()) == ("restarting", "r1")


def test_an_edge_that_visitors_no_longer_reach_is_a_failure_and_restored(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its inner listener answers as before: that is not the port that visitors use."""
    get, recreated = shop.host.get, spec(made("r2", EDGE, VOLUME), "edge").made_of

    def answer(port: int, path: str, **more: Any) -> tuple[int, str]:
        there = [
            c.made_of for c in [*shop.host.engine.observed.values()] if c.service == "edge"
        ]  # none while it is recreated
        lost = port == shop.settings.edge.port and recreated in there
        return (0, "refused") if lost else get(port, path, **more)

    monkeypatch.setattr(shop.host, "get", answer)
    with pytest.raises(OpsError, match="edge was recreated, and the app has not answered since"):
        shop.put("r2", EDGE, VOLUME, include="edge")
    assert (shop.there("edge").made_of, shop.serving()) == (spec(made("r1"), "edge").made_of, "r1")
    assert health.answers_visitors(Run(shop.settings, shop.host, made("r1")))


def test_a_rollback_goes_on_without_data_that_does_not_start(shop: Shop, capsys: Printed) -> None:
    """A bad release must go, also where a data service has ended and nothing starts it again."""
    shop.put("r2")
    redis = shop.there("redis")
    shop.host.bad = {redis.made_of}
    shop.host.engine.change(redis.name, state="exited", health="", exit_code=1)
    commands.rollback(shop.at)
    assert shop.serving() == "r1"
    assert "the release that is gone back to is started without" in capsys.readouterr().err


def test_what_ran_before_is_restored_though_the_release_gone_back_to_says_otherwise(shop: Shop) -> None:
    """An earlier change was never applied.

    Going back makes the service as it was, by the files of the release that say so.
    """
    ran = shop.there("redis").made_of
    shop.put("r2", THIRD)
    assert shop.there("redis").made_of == ran, "a deploy recreates nothing unasked"
    shop.host.bad = {spec(made("r3", REDIS), "redis").made_of}
    with pytest.raises(OpsError) as raised:
        shop.put("r3", REDIS, include="redis")
    assert (raised.value.code, "release r2" in raised.value.serves) == (1, True)
    assert (shop.there("redis").state, shop.there("redis").made_of) == ("running", ran)
