"""A repository that is reached over a slow line: restic says how far it is every five seconds that it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

import pytest

from deploy.core.poll import wait_until
from tests.integration.test_backup import files, nightly, put, receiver, sql, states, taken, titles
from tests.integration.test_drill import results
from tests.support import vaults
from tests.support.delay import narrow
from tests.support.site import Site, docker, make_bookreader

__all__ = ["nightly", "receiver"]  # fixtures

RATE = 1_000_000  # bytes a second of each connection, of which restic opens five; it packs 16 MB at a time
SAYS = 5  # seconds after which restic says how far it is


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader whose points go to an S3 server over a slow line, with much in its database and its uploads."""
    with vaults.s3(tmp_path_factory.mktemp("s3")) as bucket:
        address, _, port = bucket.address.partition(":")
        with narrow(address, int(port), RATE) as slow_port:
            slow = replace(bucket, address=f"{address}:{slow_port}")
            site = make_bookreader(tmp_path_factory.mktemp("shelf"))
            secrets = site.root / ".env.local"
            secrets.write_text(secrets.read_text() + slow.secrets)
            site.extra["OPS_BACKUP__REPOSITORY"] = slow.url
            site.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
            volumes = '"backup-staging:/staging"'
            site.replace("docker/compose.backup.yml", volumes, f'{volumes}, "uploads:/data/uploads:ro"')
            site.replace("docker/compose.backup.yml", "  backup-staging: {}", "  backup-staging: {}\n  uploads: {}")
            site.commit("uploads are saved")
            try:
                site.inv("deploy")
                put(site, "Fox")
                sql(
                    site,
                    "CREATE TABLE noise AS SELECT sha512(n::text::bytea) AS bytes FROM generate_series(1, 400000) n",
                )
                files(site, "head -c 60000000 /dev/urandom >/uploads/noise")
                yield site
            finally:
                site.sweep()


def saved_in(site: Site, point: str) -> float:
    """The seconds that restic took to save a point, by the point itself."""
    release = str(site.inv("status", "--json").document["release"])
    rendered = str(site.state / "releases" / release / "shared.yml")
    ask = [
        "compose",
        "--project-name",
        f"{site.app}-local",
        "--file",
        rendered,
        "run",
        "--rm",
        "-T",
        "--no-deps",
        "backup",
    ]
    summary = json.loads(docker(*ask, "restic", "snapshots", "--json", point))[0]["summary"]
    return (
        datetime.fromisoformat(summary["backup_end"]) - datetime.fromisoformat(summary["backup_start"])
    ).total_seconds()


def test_a_point_that_takes_longer_than_restic_is_silent_is_taken_read_drilled_and_restored(shelf: Site) -> None:
    """A line on which restic takes longer than five seconds, to save and to restore."""
    point = taken(shelf)["id"]
    assert saved_in(shelf, point) > SAYS
    assert states(shelf)[point] == "taken"
    assert shelf.inv("backup.verify", point, "--json").document[0]["state"] == "read"
    (drilled,) = shelf.inv("backup.drill", point, "--json").document["points"]
    assert set(results(drilled).values()) == {"PASS"}, drilled
    assert states(shelf)[point] == "restored"
    put(shelf, "Later")
    before = files(shelf, "sha512sum /uploads/noise; rm /uploads/noise")
    shelf.inv("backup.restore", point)
    assert wait_until(lambda: titles(shelf) == ["Fox"], 10), titles(shelf)
    shelf.inv("backup.restore", point, "--volume=uploads")
    assert files(shelf, "sha512sum /uploads/noise") == before


def test_a_night_that_takes_longer_than_restic_is_silent_is_a_success(shelf: Site, nightly: Callable[[], int]) -> None:
    """The same line, and the script of the schedule."""
    before = states(shelf).keys()
    files(shelf, "head -c 60000000 /dev/urandom >/uploads/noise")
    assert nightly() == 0, (shelf.state / "backup.log").read_text()
    (new,) = states(shelf).keys() - before
    assert saved_in(shelf, new) > SAYS
