"""Rebuild an environment on a bare host from its off-site backups: nothing of the old host is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.backups import isolated
from deploy.backups.escrow import KEYS
from deploy.backups.points import Point, differences
from deploy.backups.repository import Repository, variable
from deploy.backups.steps import Names
from deploy.config import checkout, secrets
from deploy.config.compose import Model
from deploy.config.environment import Environment
from deploy.config.secrets import envfile
from deploy.core import console
from deploy.core.errors import OpsError, Refused, as_failure
from deploy.core.shell import Secret, docker
from deploy.hosts.host import Host
from deploy.images import build as images
from deploy.release import desired
from deploy.rollout.apply import Outcome, apply
from deploy.rollout.releases import keep
from deploy.rollout.scanned import require_scanned
from deploy.rollout.steps.shared import StartShared
from deploy.site.facts import observe_all
from deploy.site.locked import locked
from deploy.site.run import Fleet, Run
from deploy.state.ledger import LEDGER
from deploy.state.store import Bundle, State, now, state_of

MARK = "rebuild"  # of the state folder while it goes on: what is there then is of this, and may be made again
RECORDS = ("backups.jsonl", "schema.json", "scale.json", "escrow.json")
AGAIN = "inv backup.rebuild again"
UNTOUCHED = "the data that is there: nothing of it was changed"
DATABASE = "database"  # in the mark, beside folders: what this rebuild has begun to fill
# what holds rows, without what an extension brought
TABLES = """SELECT count(*) FROM pg_class c WHERE relkind IN ('r', 'p', 'm', 'f') AND oid >= 16384
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')"""


@dataclass(frozen=True)
class Built:
    """What this checkout is made of, and what of that is on the host."""

    at: Environment
    model: Model
    code: desired.Code

    @classmethod
    def here(cls, at: Environment) -> Built:
        """Build the images, or find those that the host was given. Raises Refused where it lacks some."""
        model = desired.model(*at.machine)
        if at.remote:
            return cls(at, model, desired.shipped(at, checkout.read(at.settings.root, at.here), model))
        return cls(at, model, desired.built(at, images.prepare_order(*at.machine), model))

    def bundle(self, host: Host, values: Mapping[str, Secret]) -> Bundle:
        """Assemble the checkout's release for a host, with these secrets."""
        bundle = desired.bundles(self.at, self.model, self.code, values)[host.name]
        return desired.as_kept(bundle, host) if self.at.remote else bundle


def rebuild(
    at: Environment, wanted: str, escrow: str, unscanned: str = "", swap_database: str = "", *,
    this_checkout: bool = False,
) -> Outcome:  # fmt: skip
    """Bring the release of a recovery point into service on a bare host, with its data, secrets and settings.

    With `this_checkout` the release of the checkout instead, with that data and those secrets. It never served: where
    the settings need it its images have a PASS of a scan, or `unscanned` is why not, which the ledger keeps.
    `swap_database` names a database that outlived its host, has tables, and may be swapped out; it is kept.

    Raises Refused where something is there already, where the release's images are not, and for several hosts.
    """
    (host, *others), state = at.hosts, state_of(at, at.hosts[0])
    if others:
        then = "inv deploy on new hosts, then inv backup.restore"
        raise Refused("several hosts are not rebuilt in one go", where=at.settings.env, then=then, slug="not-one-host")
    given = credentials(at, escrow)
    with locked(at, "rebuild"):
        require_bare(at, state)
        built = Built.here(at)
        reader = reading(built, host, given)
        if host.read(at.settings.state_dir / MARK) is None:
            host.write(at.settings.state_dir / MARK, "")
        point, ledger, bundle = recorded(reader, state, wanted)
        host.remove(state.bundle_folder(reader.run.release.id))
        if this_checkout:
            bundle = built.bundle(host, {key: Secret(it) for key, it in secrets.rendered(bundle.env).items()})
        run = Run(at.settings, host, bundle)
        require_images(run)
        again = "inv backup.rebuild --this-checkout"
        reason = require_scanned(Fleet(at, (run,)), again, unscanned) if this_checkout else ""
        outcome = put_into_service(run, at, point, swap_database, reason)
        host.write(state.folder / LEDGER, ledger + (host.read(state.folder / LEDGER) or ""))
        host.remove(at.settings.state_dir / MARK)
    write_secrets(at, bundle)
    return outcome


def put_into_service(run: Run, at: Environment, point: Point, swap_database: str, unscanned: str) -> Outcome:
    """Fill data services with a point, and deploy a release on them."""
    with as_failure(AGAIN):
        keep(run)
    fill(run, point, swap_database)
    with as_failure(AGAIN):
        facts = observe_all(at)
        return apply(Fleet(at, (replace(run, facts=facts[run.host.name]),)), "deploy", unscanned=unscanned)


def credentials(at: Environment, escrow: str) -> dict[str, Secret]:
    """Read what opens the backups: from the sheet that inv backup.escrow --json printed, else the secrets file."""
    settings = at.settings
    if not escrow:
        text = secrets.source_of(settings).read()
        every = envfile.values(envfile.entries(text)) if text else {}
        values = {key: value for key, value in every.items() if key in KEYS}
    else:
        path = Path(escrow)
        try:
            values = {key: Secret(value) for key, value in json.loads(path.read_text())["secrets"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            then = "--escrow=FILE with what inv backup.escrow --json printed"
            raise Refused(f"{escrow} cannot be read: {error}", where=escrow, then=then, slug="escrow-missing") from None
    if "RESTIC_PASSWORD" not in values:
        what = f"nothing opens the backups: there is no RESTIC_PASSWORD in {escrow or settings.secrets_name}"
        then = "--escrow=FILE with what inv backup.escrow --json printed"
        raise Refused(what, where=settings.env, then=then, slug="escrow-missing")
    return values


def require_bare(at: Environment, state: State) -> None:
    """Refuse a host on which anything of the environment is: data that is there would be replaced."""
    host, name = state.host, at.settings.name
    serving = any(facts.edge.release for facts in observe_all(at).values())
    project = f"label=com.docker.compose.project={name}"
    volumes = host.run(docker("volume", "ls", "--quiet", "--filter", project).as_query())
    there = [
        *(["a release serves"] if serving else []),
        *([f"containers of {name}"] if host.engine.containers(name) else []),
        *([f"the volumes {', '.join(volumes.split())}"] if volumes.split() else []),
        *([f"{state.folder / LEDGER}"] if state.ledger() else []),
    ]
    mine = host.read(state.folder / MARK) is not None and not serving and not state.served()
    if there and not mine:
        then = (
            "inv backup.restore POINT replaces the data of what is there; where nobody needs that: inv down --volumes"
        )
        raise Refused(f"the host is not bare: {', '.join(there)}", where=host.name, then=then, slug="host-not-bare")


def reading(built: Built, host: Host, given: Mapping[str, Secret]) -> Repository:
    """Return the backups as the checkout's own backup service reaches them, with these credentials alone."""
    settings = built.at.settings
    run = Run(settings, host, built.bundle(host, given))
    if not run.bundle.release.of("backup"):
        then = "add docker/compose.backup.yml to `compose` in deploy/app.toml"
        what = "this checkout has no service with the role backup"
        raise Refused(what, where=settings.env, then=then, slug="no-backup-service")
    repository = Repository(run, run.bundle.release.of("backup")[0])
    if not repository.leaves_host:
        then = "set backup.offsite as the sheet of inv backup.escrow has it"
        raise Refused("no off-site repository is set", where=settings.env, then=then, slug="no-offsite")
    run.state.keep(run.bundle)
    return repository


def served_in(state: State, ledger: str) -> str:
    """Return the release that served when a point was taken, by the ledger that the point holds."""
    release = state.lines_of(ledger).accepted
    if not release:
        what, then = "the point does not say which release served", "inv backup.rebuild with another POINT"
        raise Refused(what, where=state.host.name, then=then, slug="release-unknown")
    return release


def recorded(reader: Repository, state: State, wanted: str) -> tuple[Point, str, Bundle]:
    """Read a point, and restore what it holds of its release and of what the host remembered.

    Returns the point, the text of its ledger, and the release's bundle.
    """
    with console.step("read the recovery point"):
        point = reader.fetched(reader.point(wanted) if wanted not in ("", "latest") else reader.latest())
        ledger = reader.ask("restic", "dump", "--no-lock", point.snapshot, f"/record/{LEDGER}")
        release = served_in(state, ledger)
        names = [f"--include=/{name}" for name in (*RECORDS, f"releases/{release}")]
        reader.restore_folder(point, "/record", str(state.folder), *names)
    return point, ledger, state.bundle(release)


def require_images(run: Run) -> None:
    """Refuse where the host lacks images of the release; they are named by digest, and none other would do."""
    wanted = {service.name: service.image for service in run.bundle.release.services}
    lacking = [
        f"{name} ({image[:19]})"
        for name, image in wanted.items()
        if run.host.try_run(docker("image", "inspect", image).as_query()).returncode
    ]
    if lacking:
        release = run.bundle.release
        built = f"git checkout {release.commit[:12]}, inv build --push, then inv backup.rebuild"
        then = f"{built}; or, where this checkout may serve in its place, inv backup.rebuild --this-checkout"
        what = f"release {release.id} needs images that the host lacks: {', '.join(lacking)}"
        raise Refused(what, where=run.host.name, then=then, slug="image-missing")


def fill(run: Run, point: Point, swap_database: str = "") -> None:
    """Start the data services, and restore the database and the declared volumes into them.

    Raises Refused where one of these holds what this rebuild did not put there, before any of it is changed.
    """
    release = run.bundle.release
    repository = Repository(run, release.of("backup")[0])
    saved = isolated.saved_volumes(run.bundle.files["shared.yml"])
    require_empty_folders(repository, saved)
    if data := tuple(service.name for service in release.of("data")):
        with as_failure(AGAIN), console.step(f"start {', '.join(data)}"):
            StartShared(data).perform(run)
    names = Names.at(repository.databases()[0], now(), point.id)
    own = tables(repository, names.live)
    require_no_tables(repository, names, own, swap_database)
    with as_failure(AGAIN):
        restore_database(repository, point, names, own)
        for folder, volume in saved.items():
            note_filling(run, folder)
            with console.step(f"restore the volume {volume}"):
                repository.restore_volume(point, folder, volume)


def filling(run: Run) -> frozenset[str]:
    """Return what this rebuild has begun to fill, also in a run before that failed."""
    return frozenset((run.host.read(run.state.folder / MARK) or "").splitlines())


def note_filling(run: Run, what: str) -> None:
    """Note in the mark that what is there from now on is of this rebuild."""
    run.host.append(run.state.folder / MARK, what)


def require_empty_folders(repository: Repository, saved: Mapping[str, str]) -> None:
    """Refuse where a volume or a folder of the host that would be restored holds files already."""
    there = [
        f"{source} (as {folder})"
        for folder, source in saved.items()
        if folder not in filling(repository.run)
        and {*repository.ask("ls", "--almost-all", folder).splitlines()} - {"lost+found"}
    ]
    if there:
        what = f"files are there that a rebuild would replace: {', '.join(there)}"
        then = f"move them away, then {AGAIN}"
        raise Refused(what, where=repository.run.host.name, serves=UNTOUCHED, then=then, slug="host-not-bare")


def tables(repository: Repository, live: str) -> int:
    """Count the tables of the database."""
    words = ("psql", "--no-psqlrc", "-qtA", f"--dbname={live}", f"--command={TABLES}")
    return int(repository.ask("on", "here", *words))


def require_no_tables(repository: Repository, names: Names, own: int, swap_database: str) -> None:
    """Refuse a database with tables that this rebuild did not make, unless it was named as the one to swap out."""
    if not own or DATABASE in filling(repository.run):
        return
    server = variable(repository.run, repository.service, "PGHOST")
    if swap_database == names.live:
        console.warn(
            f"{names.live} on {server} has {own} tables: it is kept as {names.kept}, and whoever uses it is cut off"
        )
        return
    what = f"the database {names.live} on {server} has {own} tables, which a rebuild would replace"
    then = (
        f"inv backup.rebuild --swap-database={names.live} keeps it under another name, where nobody uses it any more; "
        "else name an empty one by PGDATABASE"
    )
    raise Refused(what, where=repository.run.host.name, serves=UNTOUCHED, then=then, slug="host-not-bare")


def restore_database(repository: Repository, point: Point, names: Names, own: int) -> None:
    """Restore a point's database into the empty one; one that has tables is swapped out, and kept."""
    note_filling(repository.run, DATABASE)
    with console.step(f"restore the database of {point.id}"):
        expected, restored = repository.restore(point.snapshot, names.new if own else names.live)
    if differing := differences(expected, restored):
        words = "\n    ".join(["what was restored is not what was dumped:", *differing])
        raise OpsError(words, where=repository.run.host.name, slug="restored-data-differs")
    if own:
        repository.swap(names.live, names.kept, names.new)
        console.warn(f"a database {names.live} with {own} tables was there; it is kept as {names.kept}")


def write_secrets(at: Environment, bundle: Bundle) -> None:
    """Write the secrets file that the next deploy needs, where this machine has none."""
    source = secrets.source_of(at.settings)
    if source.read() is not None:
        return
    source.write(secrets.as_file(secrets.rendered(bundle.env)), at.here)
    lacking = " and ".join(secrets.OWN)
    console.say(f"{source.name} was written from the recovery point; {lacking} were not in it")
