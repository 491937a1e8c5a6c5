"""What `inv status` says of services that are missing, visitors who get errors, and what was cut off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import GateClosed, OpsError, Refused
from deploy.insight import status
from deploy.rollout import takedown
from deploy.state import locks
from tests.flow.test_rebuild import route
from tests.support.place import Place

Printed = pytest.CaptureFixture[str]


@pytest.fixture
def well(tmp_path: Path, no_waiting: None) -> Place:
    """A place where r2 serves and nothing is wrong."""
    place = Place(tmp_path)
    for name in ("r1", "r2"):
        place.deploy(name)
    return place


def names(place: Place, service: str) -> list[str]:
    return [c.name for c in place.host.engine.observed.values() if c.service == service and c.release in ("r2", "")]


def gone(service: str) -> Callable[[Place], None]:
    def act(place: Place) -> None:
        for c in [c for c in place.host.engine.observed.values() if c.service == service]:
            del place.host.engine.observed[c.name]

    return act


def change(service: str, **fields: Any) -> Callable[[Place], None]:
    def act(place: Place) -> None:
        for c in [c for c in place.host.engine.observed.values() if c.service == service]:
            place.host.engine.change(c.name, **fields)

    return act


def test_where_nothing_is_wrong_it_says_nothing_more(well: Place, capsys: Printed) -> None:
    status.show(well.at, json=False)
    output = capsys.readouterr()
    assert ("missing" in output.out, "next:" in output.err, "!" in output.err) == (False, False, False)
    status.show(well.at, json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["visitors"], document["findings"], document["next"]) == ("served", [], None)


STOPPED = {"state": "exited", "health": "", "exit_code": 137}


@pytest.mark.parametrize(
    ("fault", "words", "then"),
    [
        (gone("worker"), "worker has no container: queued tasks wait", "inv deploy --to=r2"),
        (gone("beat"), "beat has no container: nothing is scheduled", "inv deploy --to=r2"),
        (gone("redis"), "redis has no container: the app cannot reach it", "inv deploy --to=r2"),
        (change("worker", **STOPPED), "worker has stopped (exited, exit code 137): queued tasks wait",
         "inv deploy --to=r2"),
        (
            change("redis", state="restarting", health="", restarts=7),
            "redis is restarting, restarted 7 times: the app cannot reach it",
            "inv logs redis --since=15m",
        ),
        (change("worker", health="unhealthy"), "worker is unhealthy, restarted 0 times", "inv logs worker --since=15m"),
        (
            lambda place: place.state.keep_scale({"worker": 3}),
            "worker has 1 replica(s), and should have 3",
            "inv scale worker=3",
        ),
    ],
    ids=["no worker", "no beat", "no redis", "worker ended", "crash loop", "unhealthy", "scale cut off"],
)  # fmt: skip
def test_what_is_missing_or_unwell_is_a_warning_while_visitors_are_served(
    well: Place, capsys: Printed, fault: Callable[[Place], None], words: str, then: str
) -> None:
    fault(well)
    status.show(well.at, json=False)
    output = capsys.readouterr()
    assert f"! {words}\n" in output.err
    assert output.err.splitlines()[-1] == f"next: {then}"
    status.show(well.at, json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["visitors"], document["next"]) == ("served", then)
    assert document["findings"] == [{"host": "localhost", "what": words, "next": then, "hurts": False}]


@pytest.mark.parametrize("service", ["worker", "beat", "redis"])
def test_a_service_without_a_container_is_a_row(well: Place, capsys: Printed, service: str) -> None:
    gone(service)(well)
    status.show(well.at, json=False)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    colour = "shared" if service == "redis" else "green"
    assert [service, colour, "missing", "-", "r2"] in rows
    status.show(well.at, json=True)
    listed = json.loads(capsys.readouterr().out)["hosts"][0]["services"]
    assert [one["state"] for one in listed if one["name"] == service] == ["missing"]


def deaf(place: Place) -> None:
    place.host.mute = True


def both(place: Place) -> None:
    gone("redis")(place)
    deaf(place)


@pytest.mark.parametrize(
    ("fault", "words", "then"),
    [
        (gone("edge"), "edge has no container: visitors get nothing", "inv deploy --to=r2"),
        (change("edge", **STOPPED), "edge has stopped (exited, exit code 137): visitors get nothing",
         "inv deploy --to=r2"),
        (deaf, "backend answers 502 through its edge", "inv logs backend --since=15m"),
        (change("backend", **STOPPED), "backend answers 502 through its edge", "inv deploy --to=r2"),
        (both, "backend answers 502", "inv deploy --to=r2"),
    ],
    ids=["edge gone", "edge ended", "502", "web ended", "redis gone and 502"],
)  # fmt: skip
def test_visitors_who_get_errors_are_exit_3_with_one_next_command(
    well: Place, capsys: Printed, fault: Callable[[Place], None], words: str, then: str
) -> None:
    fault(well)
    with pytest.raises(GateClosed, match="visitors get errors") as failed:
        status.show(well.at, json=False)
    assert words in failed.value.what
    assert (failed.value.code, failed.value.then, failed.value.slug) == (3, then, "visitors-get-errors")
    assert "next:" not in capsys.readouterr().err, "the error has the one next command"
    with pytest.raises(GateClosed):
        status.show(well.at, json=True)
    assert json.loads(capsys.readouterr().out)["visitors"] == "errors"


def test_a_first_page_that_errs_behind_a_health_that_is_well_is_seen(
    well: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = well.host.get

    def erring(port: int, path: str, **more: Any) -> tuple[int, str]:
        return (500, "") if path == "/" else get(port, path, **more)

    monkeypatch.setattr(well.host, "get", erring)
    with pytest.raises(GateClosed, match="the first page answers 500 at the edge"):
        status.show(well.at, json=False)


def test_what_cannot_be_seen_is_exit_3(well: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge is not at the loopback, and no record says which web services it has."""
    settings = well.settings.model_copy(update={"edge": well.settings.edge.model_copy(update={"address": "10.0.0.1"})})
    monkeypatch.setattr("deploy.insight.compare.health_through_edge", lambda *_: {})
    with pytest.raises(GateClosed) as failed:
        status.show(well.at._replace(settings=settings), json=False)
    assert failed.value.slug == "visitors-unknown"


def test_an_engine_that_is_down_while_the_edge_answers(well: Place, capsys: Printed) -> None:
    def silent(environment: str) -> Any:
        raise Refused("the Docker engine does not answer", slug="engine-down")

    well.host.engine.containers = silent  # type: ignore[method-assign]
    with pytest.raises(OpsError) as failed:
        status.show(well.at, json=False)
    assert (failed.value.slug, failed.value.serves) == ("engine-down", "release r2 (green): its edge answers")


def test_the_maintenance_page_is_no_error_and_the_next_command_ends_it(well: Place, capsys: Printed) -> None:
    edge = json.loads(well.host.answer)
    well.host.answer = json.dumps({**edge, "maintenance": True})
    route(well).write_text(well.host.answer)
    deaf(well)
    status.show(well.at, json=False)
    assert capsys.readouterr().err.splitlines()[-1] == "next: inv maintenance --off ends it"


def test_what_was_taken_down_is_reported_and_one_that_was_cut_off_too(well: Place, capsys: Printed) -> None:
    well.state.note(step="TakeDown", state="begin")
    gone("worker")(well)
    status.show(well.at, json=False)
    output = capsys.readouterr().err
    assert "! inv down was cut off before its end\n" in output
    assert output.endswith("next: inv down again, or inv deploy\n")
    takedown.down(well.at, volumes=False)
    well.host.engine.observed.clear()
    capsys.readouterr()
    status.show(well.at, json=False)
    output = capsys.readouterr().err
    assert "! inv down has stopped it; visitors get nothing\n" in output
    assert output.endswith("next: inv deploy\n")


def test_while_somebody_changes_it_the_next_command_is_to_wait(well: Place, capsys: Printed) -> None:
    gone("worker")(well)
    with locks.held([well.host], well.settings.state_dir, "deploy"):
        status.show(well.at, json=False)
    assert capsys.readouterr().err.endswith("next: inv status again, once that has ended\n")
