"""One certificate for the edges of two hosts, by a real server of ACME that asks either of them."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from deploy.certificates import schedule
from deploy.certificates.store import Store, stores_of
from deploy.config.environment import enter
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests import load
from tests.integration.conftest import machines
from tests.machines import Fleet, Machine
from tests.nights.test_from_nothing import name_authority
from tests.support import remote
from tests.support.acme import LABEL, NAME, Acme, acme_server
from tests.support.certified import NAMES, make_certified, presented
from tests.support.site import ROOT, Done, Site, docker

__all__ = ["machines"]  # a fixture
CLIENTS = load.Scenario(kinds=("get",), paths=("/",), name=NAMES[0], rate=60, minimums={"get": 200})
TLS = """[tls]
by = "acme"
server = "{server}"

[variables]
BEHAVIOUR = "well"
"""


@dataclass(frozen=True)
class Edges:
    """Two hosts with an edge, and the server of certificates."""

    site: Site
    acme: Acme
    hosts: dict[str, Machine]

    def inv(self, *words: str, code: int | None = 0) -> Done:
        """Run `inv` on both."""
        return remote.inv(self.site, *words, code=code)

    @contextmanager
    def visited(self) -> Iterator[None]:
        """Have clients ask both edges meanwhile; none of their requests may be lost."""
        with ExitStack() as stack:
            clients = {
                name: stack.enter_context(load.during(f"https://{host.address}", CLIENTS))
                for name, host in self.hosts.items()
            }
            yield
            reports = {name: one.report() for name, one in clients.items()}
        for name, report in reports.items():
            assert report.verdict == load.PASS, f"{name}: {report.reasons}\n{report.table()}"

    def lead_to(self, *names: str) -> None:
        """Let the names of the site lead to these hosts."""
        for name in NAMES:
            self.acme.dns("add-a", host=f"{name}.", addresses=[self.hosts[host].address for host in names])

    def volume(self, name: str) -> str:
        """Where a host keeps its certificates."""
        volume = f"{self.site.app}-{remote.ENV}_certificates"
        return self.hosts[name].sh('docker volume inspect --format "{{.Mountpoint}}" "$1"', volume).strip()

    def serials(self) -> dict[str, str]:
        """What each edge serves, by a handshake from outside."""
        return {name: f"{presented(host.address).serial_number:x}" for name, host in self.hosts.items()}

    def stores(self) -> dict[str, Store]:
        """The certificates of each host, as `inv` finds them."""
        return {store.run.host.name: store for store in stores_of(enter(remote.ENV))}


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory, machines: Fleet) -> Iterator[Edges]:
    """A release on two hosts, each with an edge; the server reaches both, and they reach it and its DNS."""
    folder = tmp_path_factory.mktemp("edges")
    hosts = {name: machines.start(f"edges-{name}") for name in ("app1", "app2")}
    with acme_server(folder / "acme") as acme, pytest.MonkeyPatch.context() as patch:
        for container in (acme.server, acme.names):
            docker("network", "connect", machines.network, container)
        form = f'{{{{(index .NetworkSettings.Networks "{machines.network}").IPAddress}}}}'
        server, dns = (docker("inspect", "--format", form, one).strip() for one in (acme.server, acme.names))
        acme.dns("add-a", host=f"{NAME}.", addresses=[server])
        site = make_certified(folder, acme)
        site.replace("docker/compose.tls.yml", f'dns: ["{acme.address}"]', f'dns: ["{dns}"]')
        name_authority(site, acme)
        site.extra = {"OPS_ROLLOUT__WATCH": "0", "OPS_DOMAIN": " ".join(NAMES), "OPS_EDGE__TLS_PORT": "443"}
        remote.name_hosts(site, hosts, machines.key, TLS.format(server=acme.directory))
        for name, value in site.environment.items():
            patch.setenv(name, value)
        made = Edges(site, acme, hosts)
        made.lead_to("app2")
        made.inv("build", "--push")
        made.inv("deploy")
        yield made
        site.sweep()
    for host in hosts.values():
        machines.end(host)


def run(edges: Edges, name: str, *, now: bool = False, code: int = 0) -> str:
    """Do what the timer of a host does, also where nothing is due; return what it printed."""
    store = edges.stores()[name]
    folder = store.run.settings.state_dir
    text = schedule.render(store, folder)
    store.run.host.write(folder / schedule.SCRIPT, text.replace(" issue ", " issue --now ", 1) if now else text)
    done = edges.hosts[name].exec("sh", str(folder / schedule.SCRIPT), code=code)
    return done.stdout + done.stderr


def test_a_certificate_is_issued_once_where_the_server_asks_an_edge_that_does_not_obtain_it(edges: Edges) -> None:
    """The names lead to app2 alone, and app1 obtains it: both serve the same, and nobody else reads what was sent."""
    with edges.visited():
        results = edges.inv("tls.issue", "--json").document
    assert [(one["host"], one["changed"]) for one in results] == [("app1", True), ("app2", True)]
    (serial,) = set(edges.serials().values())
    assert {one["serial"] for one in results} == {serial}
    for name, host in edges.hosts.items():
        owned = 'cd "$1"; stat --format="%a %u" served/privkey.pem shared.key'
        keys = host.sh(owned, edges.volume(name))
        assert keys == "600 10001\n600 10001\n"
    again = edges.inv("tls.renew", "--json").document
    assert [(one["changed"], one["serial"]) for one in again] == [(False, serial)] * 2
    checks = {one["asked"]: one["result"] for one in edges.inv("tls.check", "--json", code=3).document}
    timers = {f"{name}: the host renews it by itself" for name in edges.hosts}  # no systemd is here, and no cron
    assert {asked for asked, result in checks.items() if result != "PASS"} == timers


def test_what_the_timer_of_one_host_renewed_is_fetched_by_that_of_the_other(edges: Edges) -> None:
    """No SSH between them, and nobody at a keyboard; clients of both edges lose nothing."""
    edges.lead_to("app1", "app2")
    before = edges.serials()
    with edges.visited():
        run(edges, "app1", now=True)
        renewed = edges.serials()
        assert (renewed["app1"] != before["app1"], renewed["app2"]) == (True, before["app2"])
        run(edges, "app2")
    assert set(edges.serials().values()) == {renewed["app1"]}


def test_an_edge_that_cannot_be_asked_for_a_challenge_is_named_before_the_server_is_asked(edges: Edges) -> None:
    """The server would ask app2, and count a try that fails; where app1 is away app2 serves what it has."""
    before = edges.serials()
    app1, app2 = edges.hosts["app1"], edges.hosts["app2"]
    edges.lead_to("app1")
    app2.sh("iptables --insert FORWARD --source $1 --protocol tcp --dport 8080 --jump REJECT", app1.address)
    try:
        refused = edges.inv("tls.renew", "--now", "--json", code=1).document
        assert (refused["slug"], f"http://{app2.address}:80" in refused["error"]) == ("challenge-unreachable", True)
    finally:
        app2.sh("iptables --delete FORWARD --source $1 --protocol tcp --dport 8080 --jump REJECT", app1.address)
    app1.sh("iptables --insert FORWARD --source $1 --protocol tcp --dport 8080 --jump REJECT", app2.address)
    try:
        assert "not-fetched" in run(edges, "app2", code=1)
    finally:
        app1.sh("iptables --delete FORWARD --source $1 --protocol tcp --dport 8080 --jump REJECT", app2.address)
    assert edges.serials() == before
    run(edges, "app2")


def test_what_another_edge_answers_over_a_plain_line_is_not_said_by_https(edges: Edges) -> None:
    """Who is between the hosts could speak for the site."""
    place, app2 = f"{edges.volume('app1')}/challenges/.well-known/acme-challenge/other", edges.hosts["app2"].address
    edges.hosts["app1"].sh('echo other >"$1"', place)
    try:
        assert answer(app2, tls=False).endswith(b"\r\n\r\nother\n")
        assert b" 404 " in answer(app2, tls=True).splitlines()[0]
    finally:
        edges.hosts["app1"].sh('rm "$1"', place)


def answer(address: str, *, tls: bool) -> bytes:
    """What an edge answers to who asks for that challenge by the site's name."""
    request = f"GET /.well-known/acme-challenge/other HTTP/1.0\r\nHost: {NAMES[0]}\r\n\r\n".encode()
    unverified = ssl._create_unverified_context()  # noqa: S323  # another test looks at the certificate
    plain = socket.create_connection((address, 443 if tls else 80), timeout=10)
    with unverified.wrap_socket(plain, server_hostname=NAMES[0]) if tls else plain as own:
        own.sendall(request)
        return b"".join(iter(partial(own.recv, 4096), b""))


def test_cron_renews_where_it_fires_timers(edges: Edges) -> None:
    """A host without systemd: cron reads the line that was installed, here for each minute, and renews by itself."""
    app1, line = edges.hosts["app1"], f"/etc/cron.d/{edges.site.app}-{remote.ENV}-certificates"
    install_cron(app1)
    assert "app1 renews it by itself where it is due: by cron" in edges.inv("tls.issue").stderr
    checks = {one["asked"]: one["result"] for one in edges.inv("tls.check", "--json", code=3).document}
    assert checks["app1: the host renews it by itself"] == "PASS"
    before = edges.serials()["app1"]
    state = edges.stores()["app1"].run.settings.state_dir
    app1.sh("sed -i 's/ issue / issue --now /' \"$1\"", f"{state}/{schedule.SCRIPT}")
    app1.sh("sed -i 's/^[0-9].* root /* * * * * root /' \"$1\"", line)
    try:
        assert wait_until(lambda: edges.serials()["app1"] != before, 120, pause=1), app1.sh(
            f"cat {line} {state}/renew.log"
        )
    finally:
        app1.sh('rm "$1"', line)
    metrics = f"{state}/metrics/{schedule.METRICS}.prom"
    assert wait_until(lambda: "renewal_exit_code" in app1.sh('cat "$1"', metrics, code=None), 60)
    assert f'renewal_exit_code{{app="{edges.site.app}-{remote.ENV}"}} 0' in app1.sh('cat "$1"', metrics)
    app1.kill("cron", "TERM")
    run(edges, "app2")


def install_cron(machine: Machine) -> None:
    """Put Debian's cron on a host, and start it."""
    base = bases.Base("test-cron", "", "trixie", "extract", ("cron",), recipe="1")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    name = docker("create", f"--label={LABEL}", base.local_tag, "true").strip()
    try:
        unpack = ["docker", "exec", "--interactive", machine.container, "tar", "-x", "-C", "/", "--skip-old-files"]
        with subprocess.Popen(["docker", "export", name], stdout=subprocess.PIPE) as files:
            subprocess.run(unpack, stdin=files.stdout, check=True, capture_output=True)
    finally:
        docker("rm", name)
    machine.sh("mkdir -p /var/spool/cron/crontabs; cron")


def test_where_the_first_host_is_gone_for_good_the_next_one_obtains_it(edges: Edges, machines: Fleet) -> None:
    """The last of this file. Its power is off; it is taken out of the settings, and nothing is known of its account."""
    before = edges.serials()["app2"]
    edges.lead_to("app2")
    docker("kill", edges.hosts["app1"].container)
    assert edges.inv("tls.renew", "--json", code=None).code != 0
    assert f"{presented(edges.hosts['app2'].address).serial_number:x}" == before
    only = {"app2": edges.hosts["app2"]}
    remote.name_hosts(edges.site, only, machines.key, TLS.format(server=edges.acme.directory))
    edges.inv("build", "--push")  # the settings are of another commit
    edges.inv("deploy")
    (obtained,) = edges.inv("tls.issue", "--json").document
    assert (obtained["host"], obtained["changed"], obtained["serial"] != before) == ("app2", True, True)
    assert f"{presented(only['app2'].address).serial_number:x}" == obtained["serial"]
    assert only["app2"].sh('ls "$1"', edges.volume("app2")).split() == ["acme", "challenges", "served", "versions"]
    assert " issue " in schedule.render(edges.stores()["app2"], Path("/x"))
