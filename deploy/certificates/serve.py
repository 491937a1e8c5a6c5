"""Serve a version of the certificates: chosen, tested by nginx, reloaded, and proven by a handshake."""

from __future__ import annotations

from contextlib import suppress

from deploy.certificates.store import BEFORE, Store, Version
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.shell import Command, docker
from deploy.edge import switch

CONFIGURATION = f"{switch.MOUNTED}/{switch.CURRENT}/nginx.conf"


def is_presented(store: Store, version: Version) -> bool:
    """Tell whether an edge serves a version: a reload may have been cut off, and a handshake shows no chain."""
    with suppress(OpsError):
        return version.is_selected and store.presented().serial == version.certificate.serial
    return False


def serve(store: Store, version: str) -> float:
    """Serve a version; on any failure the one before is served again. Return the seconds until it was served."""
    edge = store.run.edge
    former = str(store.call("select", version)["former"])
    try:
        test(store, edge)
        store.run.host.run(switch.reload(edge))
        return proven(store, version)
    except OpsError:
        if former:
            with suppress(OpsError):
                store.call("select", former)
                store.run.host.run(switch.reload(edge))
        raise


def testing(edge: str) -> Command:
    """Make the command by which the running nginx tests its configuration, certificate and key with it."""
    return docker("exec", edge, "nginx", "-t", "-q", "-c", CONFIGURATION)


def test(store: Store, edge: str) -> None:
    """Let the running nginx read the certificate and its key before it serves them."""
    try:
        store.run.host.run(testing(edge))
    except CommandFailed as error:
        raise OpsError(
            f"nginx refuses the certificate:\n{error.output}",
            where=store.run.host.name,
            serves=BEFORE,
            then="inv tls.check, then inv tls.issue",
            slug="certificate-invalid",
        ) from None


def proving(store: Store, version: str) -> Command:
    """Make the command that shakes hands with the edge until it serves a version."""
    return store.shaking(f"--until={version}", f"--within={store.run.settings.rollout.served_within:g}")


def proven(store: Store, version: str) -> float:
    """Shake hands over new connections until the edge serves a version; return the seconds that took."""
    try:
        return float(store.answer(proving(store, version))["seconds"])
    except OpsError as error:
        within = store.run.settings.rollout.served_within
        raise OpsError(
            f"the edge did not serve the new certificate within {within:g} s: {error.what}",
            where=store.run.host.name,
            serves=BEFORE,
            then="inv deploy, where the edge does not serve HTTPS yet; else docker logs of the edge",
            slug="certificate-not-served",
        ) from None
