"""A switch of the edge on a fake host: it is proven, or what served before serves on."""

from __future__ import annotations

import pytest

from deploy.core.errors import OpsError
from deploy.edge import switch
from deploy.edge.folder import EdgeFolder
from deploy.edge.frame import File
from deploy.edge.nginx import Route
from tests.support.faults import raising
from tests.support.place import Place, whole

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_switch_that_is_not_proven_puts_the_link_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = place.host.readlink(place.state.folder / "edge" / "current")
    monkeypatch.setattr(place.host, "get", lambda *_, **__: (0, "refused"))
    with pytest.raises(OpsError, match="generation 9"):
        switch.switch(
            EdgeFolder(place.settings, place.host),
            "shop-local-edge-1",
            {"nginx.conf": File("new")},
            9,
            Route("green", "r9"),
        )
    assert place.host.readlink(place.state.folder / "edge" / "current") == before
    assert place.host.executed[-1] == "docker exec shop-local-edge-1 busybox kill -HUP 1"
    assert f"generations/{place.host.generation}" == before


def test_a_switch_that_is_not_proven_ends_only_when_the_old_generation_answers_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, reload, slow = place.host.get, place.host.reload, [0]

    def get(*words: object, **more: object) -> tuple[int, str]:
        slow[0] -= 1
        if slow[0] == 0:
            reload()
        return answered(0, "/generation")

    monkeypatch.setattr(place.host, "reload", lambda: slow.__setitem__(0, 3))  # nginx takes its time
    monkeypatch.setattr(place.host, "get", get)
    before = place.host.generation
    prove = switch.prove
    monkeypatch.setattr(
        switch, "prove", lambda *words: prove(*words) if words[2] == before else raising(OpsError("no"))()
    )
    place.host.generation = 9
    with pytest.raises(OpsError, match="no"):
        switch.switch(
            EdgeFolder(place.settings, place.host),
            "shop-local-edge-1",
            {"nginx.conf": File("new")},
            9,
            Route("green", "r9"),
        )
    assert place.host.generation == before


def test_what_served_is_not_stopped_while_old_workers_of_the_edge_take_requests(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New workers answer at once; on a host that is overloaded nginx tells the old ones late, and these name r2."""
    reload = place.host.reload

    def new_ones_answer() -> None:
        place.host.workers.insert(0, place.host.workers[0] - 1)
        reload()

    monkeypatch.setattr(place.host, "reload", new_ones_answer)
    monkeypatch.setattr(switch, "RETIRING_WITHIN", 0.1)
    with pytest.raises(OpsError, match="workers of the edge before still take requests") as raised:
        place.deploy("r3")
    assert (raised.value.code, place.serving(), place.running() >= whole("r2")) == (1, "r2", True)


def test_another_server_in_the_place_of_the_proof_is_no_proof(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place.host, "get", lambda *_, **__: (200, "mine"))
    with pytest.raises(OpsError, match="did not serve generation 9"):
        switch.switch(
            EdgeFolder(place.settings, place.host),
            "shop-local-edge-1",
            {"nginx.conf": File("new")},
            9,
            Route("green", "r9"),
        )
