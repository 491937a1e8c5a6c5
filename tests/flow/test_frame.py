"""The edge's frame belongs to the host, its routes to the release.

What a deploy, a failure and a rollback do to each.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.config.sections import Tls
from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.core.model import WHOLE
from deploy.edge import frame, switch
from deploy.edge.folder import KEPT_GENERATIONS, EdgeFolder
from deploy.edge.frame import File
from deploy.rollout import commands
from deploy.rollout.apply import apply
from deploy.rollout.fleet_plan import make_plans
from deploy.rollout.releases import propose
from deploy.site.facts import observe
from deploy.site.run import Fleet, Run
from deploy.state.store import Bundle
from tests.support import place as places
from tests.support.faults import fail_at, nth, when
from tests.support.place import Killed, Place, bundled, whole

EDGE, KEY = "shop-local-edge-1", File("a key", 0o600)
STEPS = places.STEPS[1:]  # what is shared runs in these tests
WATCH = STEPS.index("Watch")


@pytest.fixture
def place(place: Place) -> Place:
    """Return a site where nothing has stopped."""
    place.host.engine.change("shop-local-redis-1", state="running", health="")
    return place


def reframed(place: Place, domain: str = "other.test") -> None:
    """Let the settings ask for another frame."""
    place.settings = place.settings.model_copy(update={"domain": domain})
    place.at = Environment(place.settings, place.host, (place.host,))


def raised(error: Exception) -> Callable[..., dict[str, File]]:
    """Return a function that fails."""

    def fail(*_: object) -> dict[str, File]:
        raise error

    return fail


def served(place: Place, name: str) -> str:
    """Return a file that nginx has read."""
    return (place.state.folder / "edge" / "current" / name).read_text()


def domain(place: Place) -> str:
    """Return which domain the frame that serves has."""
    return served(place, "nginx.conf").partition("server_name ")[2].partition(";")[0]


def test_a_changed_frame_is_a_plan_of_its_own(place: Place) -> None:
    """Same release, same containers: the frame is applied by a switch, which is proven and watched."""
    assert place.steps("r2") == []
    reframed(place)
    assert place.steps("r2") == ["Switch", "Watch"]
    before, containers = place.host.generation, place.containers()
    outcome = place.deploy("r2")
    assert (outcome.changed, outcome.generation, domain(place)) == (True, before + 1, "other.test")
    assert (place.serving(), place.containers()) == ("r2", containers)
    assert place.state.ledger()[-1].generation == before + 1
    assert (place.steps("r2"), place.deploy("r2").changed) == ([], False)


def test_a_plan_says_that_the_frame_changes(place: Place) -> None:
    reframed(place)
    run = Run(place.settings, place.host, bundled("r2"), observe(place.settings, place.host))
    plan = make_plans(Fleet(place.at, (run,)), "deploy")["localhost"]
    assert "in another frame" in str(plan.steps[0])
    assert propose(run, plan, ()).changes == ("the edge's frame",)


def test_a_rollback_brings_the_routes_and_keeps_the_frame(place: Place) -> None:
    reframed(place)
    place.deploy("r3")
    assert "releases/r3" in served(place, "routes.conf")
    reframed(place, "of.another.checkout")
    commands.rollback(place.at)
    assert (place.serving(), domain(place)) == ("r2", "other.test")
    assert "releases/r2" in served(place, "routes.conf")
    reframed(place)
    assert place.steps("r2") == [], "the frame that stands is the one that the settings ask for"


def test_a_rollback_to_a_release_from_before_tls_keeps_tls_on(place: Place) -> None:
    """The release of before knows nothing of HTTPS, and neither does the checkout that the rollback is typed in."""
    before = place.settings
    place.settings = before.model_copy(update={"tls": Tls(by="acme")})
    place.at = Environment(place.settings, place.host, (place.host,))
    place.deploy("r3")
    assert "listen 8443 ssl;" in served(place, "nginx.conf")
    place.settings, place.at = before, Environment(before, place.host, (place.host,))
    commands.rollback(place.at)
    assert place.serving() == "r2"
    assert "listen 8443 ssl;" in served(place, "nginx.conf")
    assert "releases/r2" in served(place, "routes.conf")


def test_newer_routes_are_served_in_a_frame_that_lacks_what_they_include(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older toolkit has deployed since, with a frame of its time."""
    monkeypatch.setattr(frame, "render", lambda _: {"nginx.conf": File("include routes.conf;")})
    place.deploy("r3")
    assert (served(place, "nginx.conf"), served(place, "headers.conf")) == ("include routes.conf;", "")
    assert "include headers.conf;" in served(place, "routes.conf")


@pytest.mark.parametrize("name", ["r3", "r2"], ids=["with a release", "by itself"])
@pytest.mark.parametrize("cut", [False, True], ids=["fails", "is cut off and aborted"])
def test_a_frame_whose_deploy_fails_gives_way_to_the_former_one(place: Place, name: str, cut: bool) -> None:
    reframed(place)
    number = WATCH if name == "r3" else 1
    if cut:
        place.host.kill_at(number, "begin", Killed)
        with pytest.raises(Killed):
            place.deploy(name)
        assert domain(place) == "other.test"
        commands.abort(place.at)
    else:
        place.host.fail_at(number, lambda: OpsError("it does worse"))
        with pytest.raises(OpsError):
            place.deploy(name)
    assert (place.serving(), place.running(), domain(place)) == ("r2", whole("r2"), "shop.test")
    place.deploy(name)
    assert domain(place) == "other.test"


def test_a_frame_that_cannot_be_taken_back_is_no_plain_failure(place: Place) -> None:
    """The release is the same all the while: it says nothing of the frame."""
    reframed(place)
    nth(
        place.host, "Switch", "begin", 2,
        lambda: setattr(place.host, "broken", lambda: OpsError("it is stuck")),
    )  # fmt: skip
    fail_at(place.host, "Watch")
    with pytest.raises(Interrupted, match="localhost could not be taken back"):
        place.deploy("r2")
    assert domain(place) == "other.test"
    commands.abort(place.at)
    assert (place.serving(), domain(place)) == ("r2", "shop.test")


@pytest.mark.parametrize("cut", [False, True], ids=["fails", "is cut off and aborted"])
def test_the_accepted_frame_comes_back_though_another_one_was_cut_off_in_between(place: Place, cut: bool) -> None:
    reframed(place, "second.test")
    place.host.kill_at(WATCH, "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    for _ in range(2 * KEPT_GENERATIONS):
        switch.register(EdgeFolder(place.settings, place.host), EDGE, place.host.generation + 1, {})
    reframed(place, "third.test")
    number = place.steps("r4").index("Watch")
    if cut:
        place.host.kill_at(number, "begin", Killed)
        with pytest.raises(Killed):
            place.deploy("r4")
        assert (place.serving(), domain(place)) == ("r4", "third.test")
        commands.abort(place.at)
    else:
        place.host.fail_at(number, lambda: OpsError("it does worse"))
        with pytest.raises(OpsError):
            place.deploy("r4")
    assert (place.serving(), domain(place)) == ("r2" if cut else "r3", "shop.test")


def test_a_frame_that_is_edited_while_a_deploy_goes_on_does_not_serve(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what nobody has planned, nor one frame on the canary and another on the other hosts."""
    reframed(place)
    edited = {"nginx.conf": File("edited")}
    when(place.host, "Migrate", "begin", lambda: monkeypatch.setattr(frame, "render", lambda _: edited))
    with pytest.raises(OpsError, match="no longer what was planned") as raised:
        place.deploy("r3")
    assert (raised.value.code, place.serving(), domain(place)) == (1, "r2", "shop.test")


def test_going_back_keeps_the_frame_that_stands_where_the_accepted_one_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A template that is wrong by now keeps nobody from going back."""
    reframed(place)
    place.host.kill_at(WATCH, "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    proven = place.host.generation
    for folder in (place.state.folder / "edge" / "generations").iterdir():
        if folder.name != str(proven):
            shutil.rmtree(folder)
    monkeypatch.setattr(frame, "render", raised(Refused("the template is wrong")))
    commands.abort(place.at)
    assert (place.serving(), domain(place)) == ("r2", "other.test")
    assert "the frame that was accepted is gone; the one that stands is kept" in capsys.readouterr().err


def test_the_former_frame_is_kept_however_many_generations_come(place: Place) -> None:
    """A rolling release has one for each replica, and goes back to what served before the first."""
    former = EdgeFolder(place.settings, place.host).route().frame
    reframed(place)
    place.host.kill_at(WATCH, "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    first = place.host.generation
    for number in range(2 * KEPT_GENERATIONS):
        switch.register(EdgeFolder(place.settings, place.host), EDGE, first + number + 1, {})
    assert not (place.state.folder / "edge" / "generations" / str(first)).exists()
    assert frame.fingerprint(EdgeFolder(place.settings, place.host).read_frame(former)) == former
    commands.abort(place.at)
    assert (place.serving(), domain(place)) == ("r2", "shop.test")


def test_a_file_of_mode_0600_keeps_its_mode_in_every_generation(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame may hold a key."""
    render = frame.render
    monkeypatch.setattr(frame, "render", lambda settings: {**render(settings), "key.pem": KEY})

    def kept() -> tuple[str, str]:
        path = place.state.folder / "edge" / "current" / "key.pem"
        return path.read_text(), f"{path.stat().st_mode & 0o777:o}"

    place.deploy("r3")
    assert kept() == ("a key", "600")
    assert (place.state.folder / "edge" / "current").stat().st_mode & 0o755 == 0o755, "nginx may enter"
    assert "key" not in served(place, "route.json").replace("key.pem", "")
    for on in (True, False):
        switch.turn_page(
            EdgeFolder(place.settings, place.host),
            EDGE,
            EdgeFolder(place.settings, place.host).proven()[0],
            place.host.generation + 1,
            on=on,
        )
        assert kept() == ("a key", "600")
    place.host.fail_at(WATCH, lambda: OpsError("it does worse"))
    with pytest.raises(OpsError):
        place.deploy("r4")
    assert (place.serving(), kept()) == ("r3", ("a key", "600"))
    commands.rollback(place.at)
    assert (place.serving(), kept()) == ("r2", ("a key", "600"))
    (place.state.folder / "edge" / "current" / "route.json").write_text("{")
    switch.register(EdgeFolder(place.settings, place.host), EDGE, place.host.generation + 1, {})
    assert kept() == ("a key", "600"), "where its mode is written down nowhere"


def before_the_split(name: str) -> Bundle:
    """Make a release as an older toolkit did: each configuration in one file."""
    made = bundled(name)
    main = frame.render(Place(Path("/nowhere")).settings)["nginx.conf"].text
    files = dict(made.files)
    for file in [file for file in files if file.startswith("routes.")]:
        files[file.replace("routes.", "edge.")] = main.replace("include routes.conf;", files.pop(file))
    return replace(made, files=files)


def without(text: str, *keys: str) -> str:
    entry: Mapping[str, object] = json.loads(text)
    return json.dumps({key: value for key, value in entry.items() if key not in keys})


@pytest.fixture
def old(tmp_path: Path, no_waiting: None) -> Place:
    """Return a site that an older toolkit serves: nothing there knows of a frame."""
    place = Place(tmp_path)
    for name in ("r1", "r2"):
        bundle = before_the_split(name)
        place.state.keep(bundle)
        apply(Fleet(place.at, (Run(place.settings, place.host, bundle),)), "deploy")
    for path in (tmp_path / "edge" / "generations").glob("*/route.json"):
        path.write_text(without(path.read_text(), "frame", "former", "modes"))
    ledger = tmp_path / "ledger.jsonl"
    ledger.write_text("".join(without(line, "frame") + "\n" for line in ledger.read_text().splitlines()))
    assert "include routes.conf" not in served(place, "nginx.conf")
    return place


def test_the_next_deploy_splits_the_configuration_of_an_older_toolkit(old: Place) -> None:
    old.deploy("r3")
    assert (old.serving(), old.running()) == ("r3", whole("r3"))
    assert "include routes.conf" in served(old, "nginx.conf")
    assert old.state.ledger()[-1].frame not in ("", WHOLE)
    assert old.steps("r3") == []


@pytest.mark.parametrize("cut", [False, True], ids=["fails", "is cut off and aborted"])
@pytest.mark.parametrize("step", ["StartColour", "Switch", "Watch"])
def test_a_deploy_across_the_split_that_fails_restores_what_served(old: Place, step: str, cut: bool) -> None:
    before = {name: served(old, name) for name in ("nginx.conf", "app.conf", "maintenance.conf")}
    number = STEPS.index(step)
    if cut:
        old.host.kill_at(number, "done", Killed)
        with pytest.raises(Killed):
            old.deploy("r3")
        commands.abort(old.at)
    else:
        old.host.fail_at(number, lambda: OpsError("it does not work"))
        with pytest.raises(OpsError):
            old.deploy("r3")
    assert (old.serving(), old.running()) == ("r2", whole("r2"))
    assert {name: served(old, name) for name in before} == before
    assert not (old.state.folder / "edge" / "current" / "routes.conf").exists()
    old.deploy("r3")
    assert (old.serving(), domain(old)) == ("r3", "shop.test")


def test_a_rollback_across_the_split_is_refused_before_anything_changes(old: Place) -> None:
    old.deploy("r3")
    old.host.executed.clear()
    with pytest.raises(
        Refused, match="release r2 is from before the edge's configuration was split in a frame and routes"
    ) as refused:
        commands.rollback(old.at)
    assert (refused.value.code, refused.value.slug, refused.value.then) == (
        2,
        "routes-missing",
        "inv deploy of commit r2 renders it again",
    )
    changed = [words for words in old.host.executed if not words.startswith("docker image inspect ")]
    assert (old.serving(), changed) == ("r3", [])
    old.deploy("r4")
    commands.rollback(old.at)
    assert old.serving() == "r3"


def test_a_site_of_an_older_toolkit_can_go_back_and_turn_its_page_before_it_is_split(old: Place) -> None:
    """An incident is no time for a first deploy."""
    for on in (True, False):
        files, _ = EdgeFolder(old.settings, old.host).proven()
        switch.turn_page(EdgeFolder(old.settings, old.host), EDGE, files, old.host.generation + 1, on=on)
        assert ("return 503 '<!doctype" in served(old, "nginx.conf")) is on
    commands.rollback(old.at)
    assert (old.serving(), old.running()) == ("r1", whole("r1"))
    assert "include routes.conf" not in served(old, "nginx.conf")
