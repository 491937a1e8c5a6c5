"""The dead man's switch: a host that watches loses its power, and a second host, which waits for its signs, says so."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests.machines import Fleet, Machine, fleet
from tests.nights.servers import ServersNight, on_servers, returned
from tests.support import remote
from tests.support.site import docker

PORT, NOTES = 8000, "/run/waits"
GRACE = 60  # seconds that who waits gives the other, as docs/how-to/monitoring.md advises
LIMIT = 120  # seconds until somebody elsewhere must know
# what services like healthchecks.io do: answer each sign, and say `gone` once it stays away
WAITS = r"""
use IO::Socket::INET; use IO::Select; use Time::HiRes "time";
my ($port, $grace, $notes) = @ARGV;
my $server = IO::Socket::INET->new(Listen => 9, LocalPort => $port, ReuseAddr => 1) or die $!;
my ($ready, $last, $gone) = (IO::Select->new($server), 0, 0);
sub note { open(my $file, ">>", $notes); printf $file "%s %.1f\n", $_[0], time }
note("waits");
while (1) {
    if ($ready->can_read(0.5) and my $asked = $server->accept) {
        <$asked>;
        print $asked "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        close $asked;
        ($last, $gone) = (time, 0);
        note("sign");
    }
    if ($last and not $gone and time - $last > $grace) { $gone = 1; note("gone") }
}
"""


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
def watched(machines: Fleet, second: Machine, tmp_path: Path) -> Iterator[ServersNight]:
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
    """When the second host noted a sign of life, or that these are gone."""
    lines = machine.sh('cat "$1" 2>/dev/null || true', NOTES).splitlines()
    return [float(at) for noted, at in (line.split() for line in lines) if noted == word]


def test_a_second_host_knows_that_the_first_has_lost_its_power(watched: ServersNight, second: Machine) -> None:
    """A host that watches itself loses its power: nobody there is left to say so."""
    first = watched.machines["app1"]
    watched.site.inv("monitor.up")
    watched.tell("inv monitor.up over SSH: exit 0")
    assert wait_until(lambda: len(notes(second, "sign")) > 4, 180)
    gaps = [later - earlier for earlier, later in itertools.pairwise(notes(second, "sign"))]
    assert max(gaps) < GRACE, "nobody is called for nothing"
    killed = time.time()
    docker("kill", first.container)
    assert wait_until(lambda: bool(notes(second, "gone")), LIMIT + 30)
    took = notes(second, "gone")[0] - killed
    watched.tell(f"power lost -> known on the second host: {took:.0f} s; gaps before that {max(gaps):.0f} s at most")
    assert took <= LIMIT
    returned(first)
    again = time.time()
    assert wait_until(lambda: notes(second, "sign")[-1] > again, 180)
    watched.tell(f"signs come again {notes(second, 'sign')[-1] - again:.0f} s after it is back, nobody typed")
