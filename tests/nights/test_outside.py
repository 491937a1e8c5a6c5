"""What a deploy calls and does not own: hooks, and services that are told."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.integration.bad_input.bad import look
from tests.nights.night import Night
from tests.support.site import free_port

HANGS, FAILS = "sleep 77 & sleep 77", "echo told to fail; exit 7"


@pytest.mark.parametrize(
    ("line", "cause"), [(HANGS, "had not ended after 2 s"), (FAILS, "ended with 7")], ids=["hangs", "fails"]
)
def test_the_hook_before_a_deploy(night: Night, line: str, cause: str) -> None:
    """before_deploy hangs, or fails: a gate that is closed."""
    night.change()
    before = look(night.site)
    began = time.monotonic()
    output = night.fails("deploy", code=3, OPS_HOOKS__BEFORE_DEPLOY=line, OPS_HOOKS__WITHIN="2")
    assert time.monotonic() - began < 30
    night.says(output, "before_deploy", cause, where="hooks.before_deploy", then="try again")
    assert look(night.site) == before
    night.morning()


@pytest.mark.parametrize(
    ("line", "cause"), [(HANGS, "had not ended after 2 s"), (FAILS, "ended with 7")], ids=["hangs", "fails"]
)
def test_the_hook_after_a_deploy(night: Night, line: str, cause: str) -> None:
    """after_deploy hangs, or fails: the release serves, and the person is told."""
    night.change()
    output = night.site.inv("deploy", OPS_HOOKS__AFTER_DEPLOY=line, OPS_HOOKS__WITHIN="2").stderr
    assert f"! the hook after_deploy {cause}" in output, output
    assert night.serves() != night.first
    night.tell(f"exit 0; warned: after_deploy {cause}")
    assert "nothing to do" in night.morning()


@pytest.mark.parametrize(
    ("line", "cause"), [(HANGS, "had not ended after 2 s"), (FAILS, "ended with 7")], ids=["hangs", "fails"]
)
def test_the_hook_after_a_failure(night: Night, line: str, cause: str) -> None:
    """A deploy fails, and then on_failure hangs, or fails as well: the first cause is the one to read."""
    night.change()
    output = night.fails(
        "deploy", code=1, OPS_HOOKS__ON_FAILURE=line, OPS_VARIABLES__BEHAVIOUR="exits", OPS_HOOKS__WITHIN="2"
    )
    assert f"! the hook on_failure {cause}" in output, output
    night.says(output, "told to exit at once", where="localhost", then="docker logs")
    assert night.serves() == night.first
    night.morning()


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose owner takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []
        over = threading.Event()
        server.settimeout(0.1)

        def take() -> None:
            while not over.is_set():
                try:
                    kept.append(server.accept()[0])
                except TimeoutError:
                    continue

        taking = threading.Thread(target=take)
        taking.start()
        yield int(server.getsockname()[1])
        over.set()
        taking.join()
        for one in kept:
            one.close()


@pytest.mark.parametrize("fault", ["is down", "hangs"])
def test_a_notification_service(dusk: Night, deaf: int, fault: str) -> None:
    """Whoever is told of deploys listens no more, or takes the message and never answers."""
    night = dusk
    night.site.write(".gitignore", ".env.*\n")
    night.site.commit("ignored")
    night.falls()
    night.site.write(".env.local", f"NOTIFY_URLS=json://127.0.0.1:{deaf if fault == 'hangs' else free_port()}/hook\n")
    (night.site.root / ".env.local").chmod(0o600)
    night.change()
    began = time.monotonic()
    output = night.site.inv("deploy", OPS_NOTIFY__WITHIN="2").stderr
    took = time.monotonic() - began
    assert "! not everybody was notified" in output, output
    assert "127.0.0.1" not in output, "an address may hold a token"
    assert took < 40
    night.tell(f"exit 0 after {took:.0f} s; warned: not everybody was notified")
    failed = night.fails("deploy", code=1, OPS_NOTIFY__WITHIN="2", OPS_VARIABLES__BEHAVIOUR="exits")
    assert "! not everybody was notified" in failed
    night.says(
        failed, "told to exit at once", where="localhost", then="docker logs", serves=f"release {night.serves()}"
    )
    night.morning()
