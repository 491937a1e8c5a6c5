"""One certificate for several edges: obtained on one host, sealed there, fetched and served by the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from deploy.certificates import check, issue, schedule
from deploy.certificates.store import Store
from deploy.config.environment import Environment
from deploy.config.sections import Edge, Tls
from deploy.core.errors import OpsError, Refused
from deploy.hosts.sections import Server
from tests.flow.test_certificates import Host, Place, make, pair

__all__ = ["make"]  # a fixture
SEALED = "challenges/.well-known/acme-challenge"


class Named(Host):
    """One of several hosts."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder)
        self.name = name


class Two:
    """Two hosts with an edge; that of the first answers by HTTP with the challenges in its volume."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hosts = [Named(place.folder / name, name) for name in ("app1", "app2")]
        first = self.hosts[0].volume / "challenges"
        first.mkdir()
        handler = partial(SimpleHTTPRequestHandler, directory=str(first))
        self.edge = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.edge.serve_forever, daemon=True).start()
        servers = {"app1": Server(address="127.0.0.1"), "app2": Server(address="127.0.0.2")}
        own = place.settings.model_copy(update={"hosts": servers, "edge": Edge(port=self.edge.server_port, tls_port=1)})
        self.at = Environment(own, self.hosts[0], (self.hosts[0],))  # one machine has one lock
        self.stores = tuple(
            Store(replace(place.store.run, settings=own, host=host), place.store.service) for host in self.hosts
        )
        for host in self.hosts:
            host.program("temporary", "a.test", "b.test")
            host.serves, host.obtained = host.chain(), pair()
            host.ran.clear()
        # the issuer is the first of the settings, in whichever order hosts are found
        monkeypatch.setattr(issue, "stores_of", lambda _: self.stores[::-1])
        monkeypatch.setattr(check, "reachable_stores", lambda _: (self.stores, {}))


@pytest.fixture
def two(make: Callable[..., Place], monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    """Two hosts with an edge."""
    made = Two(make(), monkeypatch)
    yield made
    made.edge.shutdown()
    made.edge.server_close()


def test_it_is_obtained_once_and_served_by_every_edge(two: Two) -> None:
    first, second = two.hosts
    one, other = issue.issue(two.at)
    assert (one.host, other.host, one.certificate.serial) == ("app1", "app2", other.certificate.serial)
    assert first.ran == ["issue", "select", "nginx -t", "reload", "share"]
    assert second.ran == ["share", "follow", "select", "nginx -t", "reload"]
    assert first.serves == second.serves == first.chain()
    key = second.volume / "served/privkey.pem"
    assert (key.stat().st_mode & 0o777, key.read_bytes()) == (0o600, (first.volume / "served/privkey.pem").read_bytes())
    (line,) = [line for line in first.lines if " issue " in line]
    asked = f"--shared --probe --edge=http://127.0.0.2:{two.edge.server_port} a.test"
    assert asked in line, "the other edges are asked for a challenge before the server is"
    assert [host.changed for host in issue.issue(two.at)] == [False, False]
    assert is_one_for_all(two) == "PASS"
    second.program("select", "temporary")
    assert is_one_for_all(two) == "FAIL"


def is_one_for_all(two: Two) -> str:
    """What `inv tls.check` says of the edges together."""
    (result,) = [one.result for one in check.check(two.at) if one.asked == "every edge has the certificate of app1"]
    return result


def test_what_another_edge_fetches_shows_the_key_to_nobody_who_has_not_the_edges_own(two: Two) -> None:
    issue.issue(two.at)
    first, second = two.hosts
    secret = (second.volume / "shared.key").read_bytes()
    (sealed,) = (first.volume / SEALED).iterdir()
    assert {path.stat().st_mode & 0o777 for path in (sealed, first.volume / "shared.key")} == {0o600}
    assert b"PRIVATE KEY" not in sealed.read_bytes()
    assert not any(secret.decode() in line for host in two.hosts for line in host.lines)
    issue.issue(two.at)
    (anew,) = (first.volume / SEALED).iterdir()
    assert (anew.name != sealed.name, (second.volume / "shared.key").read_bytes() != secret) == (True, True)


def test_an_edge_that_cannot_fetch_it_says_why_and_serves_what_it_served(two: Two) -> None:
    """What lies there is damaged, then gone; then nothing answers; then the host has no key."""
    issue.issue(two.at)
    (first, second), before = two.hosts, two.hosts[1].chain()
    (sealed,) = (first.volume / SEALED).iterdir()

    def refused() -> str:
        with pytest.raises(OpsError) as failed:
            two.stores[1].follow()
        assert failed.value.slug == "certificate-not-fetched"
        assert second.chain() == second.serves == before
        return failed.value.what

    sealed.write_bytes(b"x")
    assert "does not open" in refused()
    sealed.unlink()
    assert "404" in refused()
    two.edge.shutdown()
    two.edge.server_close()
    assert "refused" in refused()
    (second.volume / "shared.key").unlink()
    assert "no key in common" in refused()


def test_what_was_sealed_before_takes_no_newer_ones_place(two: Two) -> None:
    """Who is between the hosts kept an old file, and answers with that; a new key begins anew."""
    issue.issue(two.at)
    (first, second), store = two.hosts, two.stores[1]
    (sealed,) = (first.volume / SEALED).iterdir()
    fernet, now = Fernet((first.volume / "shared.key").read_bytes()), int(time.time())
    document = fernet.decrypt(sealed.read_bytes())
    for then, old in ((now + 60, False), (now + 60, False), (now + 59, True), (now + 61, False)):
        sealed.write_bytes(fernet.encrypt_at_time(document, then))
        if old:
            with pytest.raises(OpsError, match="older than what this host fetched before"):
                store.follow()
        else:
            store.follow()
    assert (second.volume / "fetched").stat().st_mode & 0o777 == 0o600
    issue.issue(two.at)


def test_each_host_renews_by_a_timer_of_its_own(two: Two, tmp_path: Path) -> None:
    """The first asks the server, and seals what came; the others ask the first."""
    first, second = (schedule.render(store, tmp_path) for store in two.stores)
    assert " issue --server=" in first
    assert " --shared a.test b.test" in first
    assert f" follow --source=http://127.0.0.1:{two.edge.server_port} a.test" in second
    assert " issue " not in second
    assert "the edge of app1 gave no certificate" in second


def test_a_first_edge_that_keeps_no_certificate_yet_is_named(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(issue, "stores_of", lambda _: two.stores[1:])
    with pytest.raises(Refused) as refused:
        issue.issue(two.at)
    assert (refused.value.slug, "app1" in refused.value.what, two.hosts[1].ran) == ("no-certificates-service", True, [])


def test_a_port_that_visitors_are_sent_to_and_that_nothing_answers_is_named(two: Two) -> None:
    """A firewall that was set up before there was HTTPS lets nobody in."""
    real = two.at.settings.model_copy(update={"tls": Tls(by="acme", server="production")})
    warned = issue.closed_port(real, two.hosts[0])
    assert all(words in warned for words in ("app1: visitors are sent", "127.0.0.1:1 ", "inv hosts.provision")), warned
    open_one = real.model_copy(update={"edge": Edge(tls_port=two.edge.server_port)})
    assert issue.closed_port(open_one, two.hosts[0]) == ""
    assert issue.closed_port(two.at.settings, two.hosts[0]) == "", "nobody is sent to a certificate for tries"


def test_where_the_first_host_is_gone_for_good_the_next_one_obtains_another(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken out of the settings, and neither its certificate nor its account is needed."""
    issue.issue(two.at)
    second, before = two.hosts[1], two.hosts[1].chain()
    own = two.at.settings.model_copy(update={"hosts": {"app2": two.at.settings.hosts["app2"]}})
    store = replace(two.stores[1], run=replace(two.stores[1].run, settings=own))
    monkeypatch.setattr(issue, "stores_of", lambda _: (store,))
    second.obtained = pair()
    second.ran.clear()
    (served,) = issue.issue(Environment(own, second, (second,)))
    assert (served.host, served.changed, second.chain() != before) == ("app2", True, True)
    assert second.ran == ["issue", "select", "nginx -t", "reload"]
    assert store.renewing()[0] == "issue", "and so does its timer"


def test_an_edge_that_is_alone_again_seals_nothing(two: Two) -> None:
    """What was sealed for hosts that are gone is discarded, with the key: so the words of `issue` tell it."""
    alone = two.at.settings.model_copy(update={"hosts": {"app1": two.at.settings.hosts["app1"]}})
    store = replace(two.stores[0], run=replace(two.stores[0].run, settings=alone))
    assert "--shared" in two.stores[0].issuing()
    assert "--shared" not in store.issuing()
    assert not store.follows
