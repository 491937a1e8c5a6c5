"""Stop an environment."""

from __future__ import annotations

from contextlib import suppress

from deploy.backups import schedule
from deploy.certificates import schedule as renewals
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting, as_failure
from deploy.core.model import COLOURS, LABEL
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.images.tags import prune_release
from deploy.site.interrupted import require_no_other
from deploy.site.locked import locked
from deploy.site.operation import recorded
from deploy.state import locks
from deploy.state.store import State, state_of

KEEP = f"{LABEL}.keep"  # a volume's label: backups, and keys of certificates, of which servers issue so many


def down(at: Environment, *, volumes: bool) -> None:
    """Remove containers and networks, colours before what they share; with `volumes` the data and the state as well.

    Raises Locked while a dump of the data runs.
    """
    at.each(lambda host: host.engine.require())
    with (
        locked(at, "down"),
        locks.held(at.hosts, at.settings.state_dir, "down", "dump"),
        as_failure("inv down again, once every host answers"),
    ):
        require_no_other(at)
        serving = at.each(lambda host: state_of(at, host).read_ledger().accepted)
        with recorded(at, "down --volumes" if volumes else "down", serving):
            at.each(lambda host: unschedule(at, host))
            at.each(lambda host: down_on(at.settings, host, volumes=volumes))


def unschedule(at: Environment, host: Host) -> None:
    """Take the timers away: each would report that nothing runs. Without root they are named."""
    try:
        if schedule.remove_from(at, host):
            console.say(
                f"{host.name} takes no recovery points by itself any more; inv backup.schedule has it do so again"
            )
        if renewals.remove_from(at.settings, host):
            console.say(f"{host.name} renews no certificate by itself any more; inv tls.issue has it do so again")
    except Refused as error:
        console.warn(f"timers stay on {host.name}: {error.what}; as root: inv down again")


def end_renewals(at: Environment) -> None:
    """Take the timer of renewals from every host where the settings have no certificate of a server any more.

    It would go on by former settings. A host that keeps it is warned of: what serves does not depend on it.
    """
    if at.settings.tls.by == "acme":
        return
    script = at.settings.state_dir / renewals.SCRIPT
    removed, failed = at.gather(lambda host: bool(host.read(script)) and renewals.remove_from(at.settings, host))
    for name in (name for name, done in removed.items() if done):
        console.say(f"{name} renews no certificate by itself any more: tls.by is not acme")
    for name, error in failed.items():
        then = acting(error.then or "inv deploy", at.settings.env)
        console.warn(f"{name} may go on renewing a certificate by its timer: {error.what}; {then}; then deploy again")


def down_on(settings: Settings, host: Host, *, volumes: bool) -> None:
    """Take one host down; the journal says that it begins, so that monitoring misses nothing meanwhile."""
    state = State(host, settings.state_dir)
    with suppress(OpsError, OSError):  # a full disk is no reason against it
        state.note(step="TakeDown", state="begin")
    for project in (*(f"{settings.name}-{colour}" for colour in COLOURS), settings.name):
        with console.step(f"remove the containers of {project}"):
            host.run(docker("compose", "--project-name", project, "down", "--remove-orphans"))
    if volumes:
        with console.step("remove the data"):
            remove_volumes(settings, host)
    state.note(command="down", state="done", volumes=volumes)


def remove_volumes(settings: Settings, host: Host) -> None:
    """Remove the environment's volumes, but for those that are labelled to be kept, and what its state says of them."""
    label = f"label=com.docker.compose.project={settings.name}"
    every, kept = (
        host.run(docker("volume", "ls", "--quiet", "--filter", label, *more).as_query()).split()
        for more in ((), ("--filter", f"label={KEEP}"))
    )
    if named := sorted({*every} - {*kept}):
        host.run(docker("volume", "rm", *named))
    for volume in kept:
        console.say(f"{volume} on {host.name} is kept, as its label says; to remove it: docker volume rm {volume}")
    forget_images(State(host, settings.state_dir), host)
    for path in ("schema.json", "scale.json", "edge", "releases", "ledger.jsonl"):
        host.remove(settings.state_dir / path)
    folder = settings.state_dir
    console.say(f"{folder} on {host.name} stays, with secrets and journal; to remove it: rm -r {folder}")


def forget_images(state: State, host: Host) -> None:
    """Take the releases' names off their images; half a bundle names none."""
    for release in state.kept():
        with suppress(OpsError):
            prune_release(state.release(release).images, release, host)
