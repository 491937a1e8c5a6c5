"""Every fault of `inv monitor.verify` on BookReader, three times each, and the dead man's switch: how many seconds.

`tests/integration/test_monitoring.py` has a stopped service on a small site.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.core.poll import wait_until
from tests.machines import Fleet, Machine, fleet
from tests.nights.servers import ServersNight, on_servers, returned
from tests.support import remote
from tests.support.acme import acme_server
from tests.support.certified import make_certified
from tests.support.listener import listening
from tests.support.site import Site, docker, make_bookreader
from tests.support.watched import add_secrets, watchable

PORT, NOTES = 8000, "/run/waits"
GRACE = 60  # seconds that who waits gives the other, as docs/how-to/monitoring.md advises
LIMIT = 120  # seconds until somebody elsewhere must know
# what services like healthchecks.io do: answer each sign, and say `gone` once it stays away
WAITS = r"""
use IO::Socket::INET; use IO::Select;
my ($port, $grace, $notes) = @ARGV;
my $server = IO::Socket::INET->new(Listen => 9, LocalPort => $port, ReuseAddr => 1) or die $!;
my ($ready, $last, $gone) = (IO::Select->new($server), 0, 0);
sub note { open(my $file, ">>", $notes); print $file "$_[0] ", time, "\n" }
note("waits");
while (1) {
    if ($ready->can_read(0.5) and my $asked = $server->accept) {
        my $line = <$asked>;
        print $asked "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        close $asked;
        next unless $line =~ /^GET /;
        ($last, $gone) = (time, 0);
        note("sign");
    }
    if ($last and not $gone and time - $last > $grace) { $gone = 1; note("gone") }
}
"""
ROUNDS = 3
LONG = 2400  # seconds for three rounds
# three sites, so that each of them is within the time that one night may take
FAULTS = {
    "visitors or data are hurt": {
        "stop-backend", "stop-worker", "stop-beat", "stop-postgres", "stop-redis", "stop-edge", "kill-worker",
        "hang-redis", "errors", "fill-disk", "crash-worker",
    },
    "somebody must look today": {"stop-backups", "slow-answers", "stop-receiver"},
    "what watches is not heard": {"fail-address", "kill-prometheus", "kill-alertmanager"},
}  # fmt: skip


@dataclass
class Story:
    """What a night came to, for its row of docs/nights.md."""

    story: list[str] = field(default_factory=list)


@pytest.fixture
def figures() -> Story:
    """What the row of this night says."""
    return Story()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system of this machine, there before monitoring begins, below a folder that root alone may enter."""
    image, place = tmp_path / "small.img", tmp_path / "small"
    place.mkdir()
    subprocess.run(["truncate", "--size=64M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def library(tmp_path: Path, small: Path) -> Iterator[Site]:
    """BookReader, which will be watched; the small file system is there before."""
    with watchable(make_bookreader(tmp_path)) as site:
        yield site


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """What starts servers."""
    with fleet(tmp_path_factory.mktemp("operator")) as made:
        yield made


@pytest.fixture
def second(machines: Fleet) -> Machine:
    """A host that waits for signs of life of another."""
    waits = machines.start("waits", engine=False)
    docker("exec", "--detach", waits.container, "perl", "-e", WAITS, str(PORT), str(GRACE), NOTES)
    assert wait_until(lambda: bool(notes(waits, "waits")), 10), waits.logs()
    return waits


@pytest.fixture
def watching(machines: Fleet, second: Machine, tmp_path: Path) -> Iterator[ServersNight]:
    """A site in service on a host that sends its signs of life to the second one."""
    app1 = machines.start("app1")
    with on_servers(tmp_path, {"app1": app1}, machines.key) as night:
        file = night.site.root / f".env.{remote.ENV}"
        away = f"http://{second.address}:{PORT}"
        file.write_text(f"NOTIFY_URLS=json://{second.address}:{PORT}/\nHEARTBEAT_URL={away}/{{host}}\n")
        file.chmod(0o600)
        night.falls()
        yield night


def notes(machine: Machine, word: str) -> list[float]:
    """When the second host noted a sign of life, or that these are gone, to the second."""
    lines = machine.sh('cat "$1" 2>/dev/null || true', NOTES).splitlines()
    return [float(at) for noted, at in (line.split() for line in lines) if noted == word]


def test_a_second_host_knows_that_the_one_which_watches_has_lost_its_power(
    watching: ServersNight, second: Machine
) -> None:
    """A host that watches itself loses its power: nobody there is left to say so."""
    first = watching.machines["app1"]
    watching.site.inv("monitor.up")
    watching.tell("inv monitor.up over SSH: exit 0")
    assert wait_until(lambda: len(notes(second, "sign")) > 4, 180)
    gaps = [later - earlier for earlier, later in itertools.pairwise(notes(second, "sign"))]
    assert max(gaps) < GRACE, "nobody is called for nothing"
    killed = time.time()
    docker("kill", first.container)
    assert wait_until(lambda: bool(notes(second, "gone")), LIMIT + 30)
    took = notes(second, "gone")[0] - killed
    watching.tell(f"power lost -> known on the second host: {took:.0f} s; gaps before that {max(gaps):.0f} s at most")
    assert took <= LIMIT
    returned(first)
    again = time.time()
    assert wait_until(lambda: notes(second, "sign")[-1] > again, 180)
    watching.tell(f"signs come again {notes(second, 'sign')[-1] - again:.0f} s after it is back, nobody typed")


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_in_somebodys_hand_in_time(library: Site, figures: Story, kind: str) -> None:
    """Services stopped, killed, hung, slow, crashing or cut off, a full disk.

    No backups; the watching itself killed.
    """
    library.within = LONG
    with listening() as people:
        start(library, f"NOTIFY_URLS={people.url}", f"HEARTBEAT_URL={people.url.replace('json', 'http')}/alive")
        only = f"--only={','.join(sorted(FAULTS[kind]))}"
        verified = library.inv("monitor.verify", only, f"--times={ROUNDS}", "--json", code=None)
    assert "faults" in verified.stdout, f"{verified.stdout}\n{verified.stderr}"
    faults, critical = verified.document["faults"], verified.document["critical"]
    figures.story += [f"{name} {seconds(faults, name)} s" for name in sorted(FAULTS[kind])]
    if critical:
        figures.story.append(f"critical, of {critical['number']}: p95 {critical['p95']} s, worst {critical['worst']} s")
    assert Counter(one["fault"] for one in faults) == dict.fromkeys(FAULTS[kind], ROUNDS)
    assert {one["fault"]: one["evidence"] for one in faults if one["result"] != "PASS"} == {}
    assert not critical or critical["result"] == "PASS", critical


def test_a_certificate_that_ends_is_in_somebodys_hand_in_time(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, figures: Story
) -> None:
    """The twelfth critical fault needs a site with a certificate: its host writes down that it ends in three hours."""
    with (
        acme_server(tmp_path_factory.mktemp("acme")) as acme,
        watchable(make_certified(tmp_path / "site", acme)) as site,
        listening() as people,
    ):
        site.extra["OPS_TLS__PROFILE"] = "default"
        add_secrets(site, f"NOTIFY_URLS={people.url}", f"HEARTBEAT_URL={people.url.replace('json', 'http')}/alive")
        site.inv("deploy")
        site.inv("tls.issue")
        site.inv("monitor.up")
        verified = site.inv("monitor.verify", "--only=expire-certificate", f"--times={ROUNDS}", "--json", code=None)
    faults = verified.document["faults"]
    figures.story.append(f"expire-certificate {seconds(faults, 'expire-certificate')} s")
    assert [one["result"] for one in faults] == ["PASS"] * ROUNDS, faults
    assert all(one["seconds"] <= 45 for one in faults)


def start(site: Site, *secrets: str) -> None:
    """Put a release into service and start monitoring, with these secrets."""
    add_secrets(site, *secrets)
    site.inv("deploy")
    site.inv("monitor.up")


def seconds(faults: list[dict[str, Any]], name: str) -> str:
    """Write how long the notifications of a fault took, in each round."""
    return ", ".join(str(one["seconds"] or one["evidence"]) for one in faults if one["fault"] == name)
