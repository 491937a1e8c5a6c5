"""quickstart where a usable Docker is: on the classic image store, by a member of the group docker.

Came from tests/integration/test_quickstart.py, which holds that nothing on the system is changed, and that the store is named.
"""

from __future__ import annotations

from tests.integration.test_quickstart import AS_DEV, ASK, CHECKOUT, INV, OF_DEV, bare_host, on_the_classic_store, run

__all__ = ["bare_host"]  # a fixture


def test_quickstart_on_the_classic_store_as_a_member_of_the_docker_group(bare_host: str) -> None:
    """No fault: with a usable Docker nothing on the system is changed; the classic store is named with what it cannot do."""
    run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    listed = ("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=ops-base/*")
    run(bare_host, "docker", "save", "--output", "/root/bases.tar", *run(bare_host, *listed).split())
    on_the_classic_store(bare_host)
    run(bare_host, "docker", "load", "--input", "/root/bases.tar")
    before = run(bare_host, "dpkg-query", "--show")
    said = run(bare_host, *AS_DEV, "sh", "-c", "umask 077; ./scripts/quickstart", folder=OF_DEV)
    assert run(bare_host, "dpkg-query", "--show") == before
    assert "classic image store" in said
    assert '"release"' in run(bare_host, "python3", "-c", ASK)
    assert "containerd-snapshotter" in run(bare_host, *AS_DEV, INV, "doctor", folder=OF_DEV)
    run(bare_host, *AS_DEV, INV, "down", folder=OF_DEV)
