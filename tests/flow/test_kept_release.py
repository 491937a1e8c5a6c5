"""A rollback is checked as a deploy is: what the host kept of the release is what it was, and all of it is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.core.errors import OpsError, Refused
from deploy.rollout import commands
from deploy.rollout.kept_release import needed_images
from deploy.site.facts import observe
from deploy.site.run import Run
from tests.support.apart import Site
from tests.support.faults import fail_at
from tests.support.place import Place

pytestmark = pytest.mark.usefixtures("no_waiting")


def edit(place: Place, name: str) -> None:
    path = place.state.bundle_folder("r1") / name
    path.write_text(path.read_text() + "# by hand\n")


def remove_image(place: Place) -> None:
    """Remove what r1 runs from; its stopped containers went with it."""
    for name in [name for name, c in place.host.engine.observed.items() if c.release == "r1"]:
        del place.host.engine.observed[name]
    place.host.lost_images = {next(s.image for s in place.state.release("r1").services if s.name == "backend")}


DAMAGED: dict[str, tuple[Callable[[Place], None], str, str]] = {
    "compose file": (lambda place: edit(place, "blue.yml"), "release-edited", "releases/r1/blue.yml"),
    "routes": (lambda place: edit(place, "routes.green.conf"), "release-edited", "releases/r1/routes.green.conf"),
    "gone": (
        lambda place: (place.state.bundle_folder("r1") / "routes.blue.conf").unlink(), "release-edited",
        "routes.blue.conf",
    ),
    "sums gone": (lambda place: (place.state.bundle_folder("r1") / "SHA256SUMS").unlink(), "release-edited",
                  "SHA256SUMS"),
    "sums edited": (lambda place: edit(place, "SHA256SUMS"), "release-edited", "releases/r1/SHA256SUMS"),
    "image": (remove_image, "image-missing", "backend"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGED)
def test_a_rollback_refuses_a_release_that_the_host_did_not_keep_as_it_was(place: Place, what: str) -> None:
    damage, slug, named = DAMAGED[what]
    damage(place)
    before, journal, commanded = place.containers(), place.journal(), len(place.host.executed)
    with pytest.raises(Refused, match=named) as error:
        commands.rollback(place.at)
    assert error.value.slug == slug
    assert "inv deploy of commit r1" in error.value.then, "another release, or the same made again"
    assert (place.containers(), place.journal(), place.serving()) == (before, journal, "r2"), "nothing was changed"
    changed = [line for line in place.host.executed[commanded:] if " image inspect " not in line]
    assert not changed, changed


def test_the_advice_is_another_release_that_is_kept(place: Place) -> None:
    place.deploy("r3")
    edit(place, "blue.yml")
    with pytest.raises(Refused) as error:
        commands.rollback(place.at, to="r1")
    assert error.value.then == "inv rollback --to=r2; or inv deploy of commit r1"


def test_a_release_that_an_older_toolkit_kept_without_sums_is_taken_as_it_is(place: Place) -> None:
    folder = place.state.bundle_folder("r1")
    (folder / "SHA256SUMS").unlink()
    release = json.loads((folder / "release.json").read_text())
    del release["sums"]
    (folder / "release.json").write_text(json.dumps(release))
    edit(place, "blue.yml")
    commands.rollback(place.at)
    assert place.serving() == "r1"


def test_of_what_runs_no_image_is_needed(place: Place) -> None:
    """With rollout.keep_warm the way back is one switch."""
    run = Run(place.settings, place.host, place.state.bundle("r1"), observe(place.settings, place.host))
    assert {"backend", "beat", "worker"} <= {name for names in needed_images(run).values() for name in names}
    warm = tuple(replace(c, state="running", health="") if c.release == "r1" else c for c in run.facts.containers)
    names = {
        name
        for names in needed_images(replace(run, facts=replace(run.facts, containers=warm))).values()
        for name in names
    }
    assert not {"backend", "beat", "worker", "redis", "edge"} & names


def test_a_host_says_which_of_many_lost_it(tmp_path: Path) -> None:
    site = Site(tmp_path)
    path = site.hosts["app2"].real(site.settings.state_dir / "releases/r1/blue.yml")
    path.write_text("services: {}\n")
    with pytest.raises(Refused, match=r"blue\.yml") as error:
        commands.rollback(site.at)
    assert error.value.where == "app2"


def test_the_question_names_both_releases_with_their_dates(place: Place) -> None:
    asked: list[str] = []

    def refuse(words: Callable[[], str]) -> None:
        asked.append(words())
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        commands.rollback(place.at, confirm=refuse)
    served = {entry.release: entry.started[:10] for entry in place.state.ledger()}
    start, _, end = asked[0].partition(" to ")
    assert start.startswith(f"go back from r2 (in service {served['r2']}")
    assert end.startswith(f"r1 (in service {served['r1']}")
    assert place.serving() == "r2"


def test_a_rollback_that_failed_advises_another_release_and_never_to_deploy_the_checkout(place: Place) -> None:
    fail_at(place.host, "AwaitHealthy")
    with pytest.raises(OpsError) as error:
        commands.rollback(place.at)
    assert "then inv deploy" not in error.value.then
    assert "inv history names the releases to go back to" in error.value.then
    assert place.serving() == "r2"
