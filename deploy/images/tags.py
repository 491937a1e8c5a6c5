"""The names by which images are kept on a host: by release, so that no prune takes what a rollback needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.shell import LONG, docker
from deploy.hosts.host import Host


def identify(name: str, host: Host) -> str:
    """Return the local id of an image; empty when it is not here."""
    return host.try_run(docker("image", "inspect", "--format", "{{.Id}}", name)).stdout.strip()


def pull(name: str, host: Host) -> str:
    """Pull an image; return its local id."""
    try:
        host.run(docker("pull", "--quiet", name), timeout=LONG)
    except CommandFailed as error:
        what = f"image {name} is not on {host.name} and cannot be pulled:\n{error.output}"
        then = f"docker pull {name}; one of your own belongs into the bake file, and inv build makes it"
        raise Refused(what, where=host.name, then=then, slug="image-missing") from None
    return identify(name, host)


def keep_for(release: str, built: Iterable[str], ids: Mapping[str, str], host: Host) -> None:
    """Name a release's images after it: an image without a name would go with the next prune."""
    for name in built:
        try:
            host.run(docker("tag", ids[name], kept(name, release)))
        except CommandFailed as error:
            what = f"the image {name} that was built just now is gone; another build has taken its name"
            what += f":\n{error.output}"
            raise OpsError(what, where=host.name, then="inv deploy builds it again", slug="image-replaced") from None


def kept(name: str, revision: str) -> str:
    """Return the name of an image on every host: with its own tag, else with the revision it belongs to. Pure."""
    plain = name.partition("@")[0]
    return plain if ":" in plain.rpartition("/")[2] else f"{plain}:{revision}"


def prune_release(names: Iterable[str], release: str, host: Host) -> None:
    """Take a release's name off its images; the engine removes what has no other name."""
    for name in names:
        if kept(name, release) != name:  # one with a tag of its own keeps it
            host.try_run(docker("image", "rm", kept(name, release)))
