"""`inv validate` on a fake host, and certificates of a real TLS server."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from deploy.backups.points import EvidenceFile
from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, Refused
from deploy.core.model import Deploy, ReleasedService
from deploy.core.shell import Result, docker
from deploy.hosts.sections import Server
from deploy.incidents import arrival, certificates, validate
from deploy.insight import compare, logs
from deploy.monitoring import panels
from deploy.rollout import commands
from deploy.site.facts import observe
from deploy.state import kept
from deploy.state.folder import now
from deploy.state.scans import Scan, Scans
from tests.support import prometheus
from tests.support.place import Place

Printed = pytest.CaptureFixture[str]
NOW = datetime.now(UTC)
# where TLS is off and the monitoring stack does not run
UNKNOWN = {
    "certificates valid": "TLS is off: the edge speaks plain HTTP",
    "dashboards show data": "Prometheus does not answer",
}


def shown(place: Place, capsys: Printed) -> dict[str, dict[str, object]]:
    with pytest.raises(GateClosed) as closed:
        validate.show(place.at, json=True)
    assert (closed.value.code, closed.value.documented) == (3, True)
    return {gate["gate"]: gate for gate in json.loads(capsys.readouterr().out)["gates"]}


def test_which_gates_are_unknown_here_and_why(place: Place, capsys: Printed) -> None:
    """Whatever is deployed: without TLS and monitoring nobody can look at these."""
    place.host.engine.change("shop-local-redis-1", state="running", health="healthy")
    gates = shown(place, capsys)
    assert len(gates) == 8
    unknown = {name: gate["evidence"] for name, gate in gates.items() if gate["result"] == "UNKNOWN"}
    assert unknown == UNKNOWN | {
        "no critical or high vulnerability": "not scanned: app/backend, app/edge, app/site, redis"
    }
    assert [gates[name]["result"] for name in ("services up", "health green")] == ["PASS", "PASS"]
    assert (gates["services up"]["age"], gates["dashboards show data"]["age"]) == (0, None)


def test_dashboards_show_data_when_prometheus_has_some_for_every_panel(place: Place, capsys: Printed) -> None:
    place.host.prometheus = prometheus.well
    gate = shown(place, capsys)["dashboards show data"]
    number = len(panels.panels_of(panels.dashboards({"edge", "nginx", "redis", "tasks"})))
    assert (gate["result"], gate["evidence"], gate["age"]) == ("PASS", f"{number} of {number} panels", 0)
    place.host.prometheus = prometheus.without("Memory in use")
    gate = shown(place, capsys)["dashboards show data"]
    assert (gate["result"], gate["evidence"]) == ("FAIL", f"of {number} panels: Memory in use: no data")


def test_logs_arrive_when_a_line_of_every_container_is_read_back(
    place: Place, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.host.engine.change("shop-local-redis-1", state="running", health="healthy")
    gate = shown(place, capsys)["logs arrive"]
    running = sum(one.state == "running" for one in place.host.engine.observed.values())
    assert gate["result"] == "PASS"
    assert str(gate["evidence"]).startswith(f"{running} of {running} containers, within 0."), gate
    assert {json.loads(line)["level"] for line in place.host.written.values()} == {"info"}

    place.host.shellless.add("redis")
    gate = shown(place, capsys)["logs arrive"]
    trouble = "nothing in it can write a line, and it has written none itself"
    assert (gate["result"], gate["evidence"]) == ("UNKNOWN", f"shop-local-redis-1: {trouble}")
    place.host.log = [Result(0, "2026-11-30T10:00:00Z Ready to accept connections\n", "")]
    gate = shown(place, capsys)["logs arrive"]
    assert gate["result"] == "PASS"
    assert str(gate["evidence"]).endswith("since nothing in them can write: shop-local-redis-1")
    place.host.shellless, place.host.dropped = set(), {"redis"}
    place.host.log = [Result(0, "2026-11-30T10:00:00Z Ready to accept connections\n", "")]
    assert shown(place, capsys)["logs arrive"] == gate, "the official images drop root after their output was opened"

    monkeypatch.setattr(arrival, "WITHIN", 0.05)
    monkeypatch.setattr(logs, "read", lambda *_: docker("logs", "of", "another"))
    gate = shown(place, capsys)["logs arrive"]
    assert gate["result"] == "FAIL"
    assert "a line that was written did not come within 0 s; " in str(gate["evidence"])

    monkeypatch.setattr(logs, "read", lambda name, *_: docker("logs", name))
    place.host.log = [Result(1, "", "Error response from daemon: can not get logs")] * 100
    gate = shown(place, capsys)["logs arrive"]
    assert gate["result"] == "UNKNOWN", "a log that cannot be read says nothing about its lines"
    assert "can not get logs" in str(gate["evidence"])


WRITERS = [*arrival.SHELLS[:1], ("python3", *arrival.INTERPRETERS["python"]), ("node", *arrival.INTERPRETERS["node"])]


@pytest.mark.parametrize("words", WRITERS, ids=lambda words: words[0])
def test_a_file_that_a_container_writes_its_output_into_is_added_to(tmp_path: Path, words: tuple[str, ...]) -> None:
    """`exec app >/data/app.log` makes the first process's output a file: to open it anew would empty it."""
    if not shutil.which(words[0]):
        pytest.skip(f"UNKNOWN: {words[0]} is not on this machine")
    output = tmp_path / "output"
    output.write_text("what was there\n")
    subprocess.run([*(word.replace("/proc/1/fd/1", str(output)) for word in words), "the line"], check=True)
    assert output.read_text() == "what was there\nthe line\n"


def test_what_the_host_remembers_makes_gates_pass_and_damage_makes_them_unknown(place: Place, capsys: Printed) -> None:
    for release in ("r1", "r2"):
        commands.rollback(place.at, to=release)
    host, folder, kept_release = place.host, place.settings.state_dir, place.state.release("r2")
    saving = ReleasedService(name="backup", image="app/backup", deploy=Deploy(role="backup"))
    more = kept_release.model_copy(update={"services": (*kept_release.services, saving)})
    (place.state.bundle_folder("r2") / "release.json").write_text(kept.dump(more))
    for name, digest in kept_release.images.items():
        found = {"image": name, "digest": digest, "config": "", "result": "PASS", "scanned": now(), "who": "a"}
        Scans(host, folder).keep(Scan.model_validate({**found, "revision": "r2", "scanner": "t"}), "")
    assert shown(place, capsys)["backup restored"]["evidence"] == "no recovery point was ever restored"
    EvidenceFile(host, folder).prove("b7", "restored", "both releases read it")
    gates = shown(place, capsys)
    passing = {name for name, gate in gates.items() if gate["result"] == "PASS"}
    assert passing == set(gates) - set(UNKNOWN), "every gate that something can look at"
    (folder / "backups.jsonl").write_text("{\0\n")
    assert (
        shown(place, capsys)["backup restored"]["evidence"] == "1 line(s) of backups.jsonl of localhost cannot be read"
    )
    with (folder / "ledger.jsonl").open("a") as ledger:
        ledger.write("\0\0\n")
    assert shown(place, capsys)["rollback rehearsed"]["result"] == "PASS", "it can still be read"


def test_each_gate_names_a_next_command_and_people_read_a_table(place: Place, capsys: Printed) -> None:
    with pytest.raises(GateClosed, match="services up is FAIL"):
        validate.show(place.at, json=False)
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 9
    assert any("redis has stopped" in line and "inv deploy --to=r2" in line for line in table)


def test_with_an_engine_that_is_down_nothing_is_green(place: Place, capsys: Printed) -> None:
    def silent(environment: str) -> None:
        raise Refused("the Docker engine does not answer", slug="engine-down")

    place.host.engine.containers = silent  # type: ignore[method-assign, assignment]
    assert {gate["result"] for gate in shown(place, capsys).values()} == {"UNKNOWN"}


def make_certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    """Make a certificate that is its own authority."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    words = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}")
    files = ("-keyout", str(key), "-out", str(certificate), "-days", str(days))
    alternative = ("-addext", f"subjectAltName=DNS:{name}")
    subprocess.run(["openssl", "req", "-x509", *words, *files, *alternative], check=True, capture_output=True)
    return certificate, key


@contextmanager
def served(certificate: Path | None, key: Path | None) -> Iterator[int]:
    """Serve a certificate on a port of the loopback; without one each handshake ends in an alert."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if certificate:
        context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                    with connection, context.wrap_socket(connection, server_side=True) as own:
                        own.recv(1)
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("days", "name", "result", "words"),
    [
        (90, "books.test", "PASS", "books.test, until "),
        (1, "books.test", "FAIL", "its end is near"),
        (90, "other.test", "FAIL", "Hostname mismatch"),
    ],
    ids=["valid", "ends soon", "another name"],
)
def test_the_certificate_that_is_served(tmp_path: Path, days: int, name: str, result: str, words: str) -> None:
    certificate, key = make_certificate(tmp_path, "books.test", days)
    with served(certificate, key) as port:
        gate = certificates.valid([name], ["127.0.0.1"], port, NOW, certificate)
        stranger = certificates.valid([name], ["127.0.0.1"], port, NOW)
    assert (gate.result, words in gate.evidence) == (result, True), gate.evidence
    assert (stranger.result, "self-signed" in stranger.evidence) == ("FAIL", True), stranger.evidence


class Channel:
    """What a channel of SSH has, which is no socket."""

    def __init__(self, port: int) -> None:
        made = socket.create_connection(("127.0.0.1", port), 5)
        self.sendall, self.recv, self.close = made.sendall, made.recv, made.close


def test_the_certificate_of_an_edge_behind_a_gateway(tmp_path: Path) -> None:
    """Nothing leads there from here.

    The gateway's channel does, and a gateway that is down is no expired certificate.
    """
    certificate, key = make_certificate(tmp_path, "books.test", 90)
    asked: list[tuple[str, int]] = []
    with served(certificate, key) as port:

        def through(address: str, own: int, _: float) -> Channel:
            asked.append((address, own))
            return Channel(port)

        gate = certificates.valid(["books.test"], ["10.0.0.7"], 443, NOW, certificate, through)
    assert (gate.result, asked) == ("PASS", [("10.0.0.7", 443)]), gate.evidence

    def down(*_: object) -> Channel:
        raise Refused("gateway did not answer", slug="host-unreachable")

    gate = certificates.valid(["books.test"], ["10.0.0.7"], 443, NOW, certificate, down)
    assert (gate.result, "gateway did not answer" in gate.evidence) == ("UNKNOWN", True)


def test_a_data_host_that_is_not_reached_may_have_backups(place: Place) -> None:
    """FAIL would say that nothing is saved."""
    server = Server(address="192.0.2.7", roles=["data"])
    settings = place.settings.model_copy(update={"hosts": {"data1": server}})
    at = Environment(settings, place.host, (place.host,))
    views = {place.host.name: compare.view_of(at, place.host, observe(settings, place.host))}
    gate = validate.restored(at, [place.host], views, {"data1"}, NOW)
    assert (gate.result, gate.evidence) == ("UNKNOWN", "data1 is not reached")
    assert validate.restored(at, [place.host], views, {}, NOW).result == "FAIL"


def test_an_expired_one_and_a_port_that_nobody_serves(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "books.test", 90)
    with served(certificate, key) as port:
        later = certificates.valid(["books.test"], ["127.0.0.1"], port, NOW + timedelta(days=89), certificate)
    assert later.result == "FAIL"
    with served(None, None) as port:
        alert = certificates.valid(["books.test"], ["127.0.0.1"], port, NOW)
    assert alert.result == "FAIL", "somebody answers, and shows no certificate"
    assert certificates.valid(["books.test"], ["127.0.0.1"], port, NOW, certificate).result == "UNKNOWN"
