"""Off-site on a host whose engine is a script: which repository is asked, what counts, what is said where it fails."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.backups import repository as repositories
from deploy.backups import retention, schedule, take
from deploy.backups.points import Evidence
from deploy.backups.repository import Repository
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, Result
from deploy.rollout import rebuild
from tests.flow.test_drill import MANIFEST, Host, Place
from tests.support import backed_up

FAR = "sftp://backup@vault.example.org//srv/books"
COMPOSE = backed_up.COMPOSE.replace(
    "RESTIC_REPOSITORY: /backups/books", f'RESTIC_REPOSITORY: /backups/books, BACKUP_OFFSITE: "{FAR}"'
)


class Vault(Host):
    """Has one point here and off-site, one only off-site, one only here; `down` says what of it is out of reach."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if self.down and "offsite" in command.argv:
            self.executed.append(str(command))
            return Result(1, "", "ssh: connect to host vault.example.org port 22: Connection refused, hunter2hunter2")
        return super().try_run(command, stdin=stdin, timeout=timeout)

    def answer(self, argv: tuple[str, ...]) -> str:
        if "dump" in argv:
            return MANIFEST.model_dump_json()
        if "snapshots" not in argv:
            return "ffff0000" * 8 if "offsite" in argv else super().answer(argv)
        if "offsite" in argv:
            far = [("f0", "old"), ("f1", "point0")]
            return json.dumps([{"short_id": a, "original": b, "time": "2026-11-20T00:00:00Z"} for a, b in far])
        return json.dumps([{"short_id": f"point{n}", "time": f"2026-11-2{n}T01:00:00Z"} for n in range(2)])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr("tests.flow.test_drill.Host", Vault)
    made = Place(tmp_path, COMPOSE)
    monkeypatch.setattr(take, "repository_of", lambda _: made.repository)
    return made


def asked(place: Place) -> int:
    """How often the off-site repository was asked for anything."""
    return sum("offsite" in line for line in place.host.executed)


def vault(place: Place) -> Vault:
    assert isinstance(place.host, Vault)
    return place.host


def test_both_are_listed_and_out_of_reach_the_near_ones_are(place: Place) -> None:
    points, unasked = take.listed(place.at)
    assert {point.id: point.places for point in points} == {
        "point1": ["local"], "point0": ["local", "off-site"], "old": ["off-site"],
    }  # fmt: skip
    assert unasked is None
    vault(place).down = True
    points, unasked = take.listed(place.at)
    assert [point.id for point in points] == ["point1", "point0"]
    assert unasked
    assert (unasked.slug, unasked.code) == ("offsite-failed", 1)


def test_a_point_that_is_here_is_found_without_the_other_repository(place: Place) -> None:
    assert place.repository.point("latest").id == "point1"
    assert place.repository.point("point0").id == "point0"
    assert asked(place) == 0
    assert place.repository.point("old").places == ["off-site"]
    with pytest.raises(Refused):
        place.repository.point("none")


def test_a_copy_counts_once_it_was_read_back_and_what_fails_is_reported_without_a_secret(place: Place) -> None:
    point = place.repository.point("latest")
    vault(place).down = True
    failed = take.attempt_copy(place.repository, point)
    assert failed
    assert f"point1 is in {place.repository.address}, and not off-site" in failed.what
    assert "Connection refused" in failed.what
    assert "hunter2" not in str(failed)
    assert FAR in failed.where
    assert failed.then == "fix that, then inv backup.copy"
    lines = place.evidence.lines
    assert not [line for line in lines() if line.place == "off-site"]
    vault(place).down = False
    assert take.attempt_copy(place.repository, point) is None
    assert [(line.point, line.detail) for line in lines() if line.place == "off-site"] == [
        ("point1", "off-site as ffff0000")
    ]
    assert place.repository.point("point1").state == "taken", "a copy is no proof that it can be read"


def test_without_a_second_repository_a_copy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Place(tmp_path)
    monkeypatch.setattr(take, "repository_of", lambda _: made.repository)
    with pytest.raises(Refused) as refused:
        take.copy(made.at)
    assert (refused.value.slug, refused.value.then) == ("no-offsite", "set backup.offsite, then inv deploy")


def test_what_is_pruned_goes_from_both_each_by_its_own_id(place: Place) -> None:
    points = {point.id: point for point in place.repository.everywhere()}
    with pytest.raises(OpsError):  # this script lists them still
        retention.remove(place.repository, [points["point0"], points["old"]])
    forgotten = [line.partition("forget --quiet --prune ")[2] for line in place.host.executed if "forget" in line]
    assert [sorted(ids.split()) for ids in forgotten] == [["f0", "f1"], ["point0"]]


def test_the_script_of_the_night_copies_judges_and_holds_no_secret(place: Place) -> None:
    script = schedule.render(place.repository, Path("/state/books"))
    assert "releases/$release/shared.yml" in script
    assert ' offsite shop-local recovery-point "$point" "$point"' in script
    assert "losses 0.5 10" in script
    assert "hunter2" not in script
    assert repositories.TAG in script


def test_what_was_proven_of_a_copy_is_of_the_point(place: Place) -> None:
    place.evidence.add(Evidence(point="point0", state="read", time="2026-11-30T06:00:00Z", place="off-site"))
    assert place.repository.point("point0").state == "read"


def test_what_the_off_site_account_may_not_remove_is_removed_here_all_the_same(place: Place) -> None:
    points = {point.id: point for point in place.repository.everywhere()}
    vault(place).down = True
    with pytest.raises(OpsError, match=r"nothing was removed off-site: .*Connection refused") as failed:
        retention.remove(place.repository, [points["point0"], points["old"]])
    assert (failed.value.code, failed.value.slug) == (1, "backup-failed")
    assert "an account that may only add is pruned over there" in failed.value.then
    assert [line for line in place.host.executed if line.endswith("forget --quiet --prune point0")]


def test_the_newest_of_both_repositories_is_what_a_rebuild_takes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old point that an earlier try has fetched, or another site has left here, hides no newer one."""
    newer = [{"short_id": "f2", "original": "newer", "time": "2026-11-29T00:00:00Z"}]
    near = place.repository.snapshots("local")
    monkeypatch.setattr(Repository, "snapshots", lambda _, place: near if place == "local" else newer)
    monkeypatch.setattr(Repository, "fetched", lambda _, point: point)
    monkeypatch.setattr(rebuild, "served_in", lambda *_: "r2")
    taken = [rebuild.recorded(place.repository, place.state, wanted)[0].id for wanted in ("", "latest", "point1")]
    assert taken == ["newer", "newer", "point1"]


def test_a_point_that_was_fetched_is_looked_for_off_site_by_its_own_id(place: Place) -> None:
    fetched = replace(place.repository.point("point0"), copies={"local": "other"})
    place.repository.copy(fetched)
    assert place.host.executed[-1].endswith(" offsite shop-local recovery-point other point0")
