"""All of quickstart on a bare Debian 12 host: from nothing, after its engine died, and where a usable Docker is."""

from __future__ import annotations

import time

from tests.integration.test_quickstart import (
    AS_DEV,
    CHECKOUT,
    INV,
    KILL_ENGINE,
    OF_DEV,
    bare_host,
    on_the_classic_store,
    run,
)

__all__ = ["bare_host"]  # a fixture
ASK = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/api/version').read().decode())"


def test_quickstart_on_a_bare_debian_12_host(bare_host: str) -> None:
    """The engine dies: quickstart starts it again; it ends with the URL, and a further run takes seconds."""
    first = run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    assert "installing docker.io" in first
    assert "http://127.0.0.1:8080" in first
    assert '"release"' in run(bare_host, "python3", "-c", ASK)

    run(bare_host, "python3", "-c", KILL_ENGINE)
    began = time.monotonic()
    again = run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    assert "starting dockerd" in again
    assert "installing" not in again
    assert '"release"' in run(bare_host, "python3", "-c", ASK)
    assert time.monotonic() - began < 60

    began = time.monotonic()
    assert "nothing to do" in run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    assert time.monotonic() - began < 20


def test_quickstart_on_the_classic_store_as_a_member_of_the_docker_group(bare_host: str) -> None:
    """No fault: with a usable Docker nothing on the system is changed.

    The classic store is named with what it cannot do.
    """
    run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    listed = ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=ops-base/*")
    run(bare_host, "docker", "save", "--output", "/root/bases.tar", *run(bare_host, *listed).split())
    run(bare_host, INV, "down", "--volumes", "--yes", folder=CHECKOUT)
    on_the_classic_store(bare_host)
    run(bare_host, "docker", "load", "--input", "/root/bases.tar")
    before = run(bare_host, "dpkg-query", "--show")
    output = run(bare_host, *AS_DEV, "sh", "-c", "umask 077; ./scripts/quickstart", folder=OF_DEV)
    assert run(bare_host, "dpkg-query", "--show") == before
    assert "classic image store" in output
    assert '"release"' in run(bare_host, "python3", "-c", ASK)
    assert "containerd-snapshotter" in run(bare_host, *AS_DEV, INV, "doctor", folder=OF_DEV)
    run(bare_host, *AS_DEV, INV, "down", folder=OF_DEV)
