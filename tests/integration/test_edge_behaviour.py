"""What visitors, apps and strangers get of the edge: one running edge with HTTPS, each behaviour asked for once."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from deploy.core.poll import wait_until
from tests.support import edges
from tests.support.edges import NAME, Answer, Edge
from tests.support.site import ROOT, docker

LIMITS = {"/api/login": 3, "/edge-": 3}
QUICK = {"canonical": NAME, "body_mb": 1, "header_within": 2, "body_within": 2, "limits": LIMITS}
FILES = {"certificate": "a.pem", "key": "a.key"}
SECURITY = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "strict-origin-when-cross-origin",
    "strict-transport-security": "max-age=63072000",
    "x-content-type-options": "nosniff",
}


# https://ssl-config.mozilla.org/guidelines/6.0.json, intermediate, without the hybrid group, in sslyze's form
AUTHENTICATED = [
    f"TLS_ECDHE_{kind}_WITH_{cipher}"
    for kind in ("ECDSA", "RSA")
    for cipher in ("AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256")
]
GUIDELINE = {
    "certificate_curves": ["prime256v1", "secp384r1"],
    "certificate_signatures": ["sha256WithRSAEncryption", *(f"ecdsa-with-SHA{bits}" for bits in (256, 384, 512))],
    "certificate_types": ["ecdsa", "rsa"],
    "ciphers": {"caddy": [], "go": [], "iana": AUTHENTICATED, "openssl": []},
    "ciphersuites": ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
    "dh_param_size": 2048,
    "ecdh_param_size": 256,
    "hsts_min_age": 63_072_000,
    "maximum_certificate_lifespan": 366,
    "ocsp_staple": True,
    "recommended_certificate_lifespan": 90,
    "rsa_key_size": 2048,
    "server_preferred_order": False,
    "tls_curves": ["X25519", "prime256v1", "secp384r1"],
    "tls_versions": ["TLSv1.2", "TLSv1.3"],
}
CLIENT = """
pid /tmp/{port}.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/{port}; proxy_temp_path /tmp/{port}; fastcgi_temp_path /tmp/{port};
    uwsgi_temp_path /tmp/{port}; scgi_temp_path /tmp/{port};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:8443;
            proxy_set_header Host {name};
            proxy_ssl_name {name};
            proxy_ssl_server_name on;
            proxy_ssl_conf_command Groups {group};
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """One edge for all tests of this file."""
    with edges.running(tmp_path_factory.mktemp("edge"), edge=QUICK, tls={"by": "file", **FILES}) as made:
        yield made


def received(answer: Answer) -> dict[str, str]:
    """Return the headers that the app was sent."""
    assert answer.status == 200, answer
    return dict(json.loads(answer.body)["headers"])


def test_plain_http_and_other_names_lead_to_the_canonical_one_with_method_and_body(edge: Edge) -> None:
    for name in (NAME, "shop.test"):
        moved = edge.get("/api/echo?a=b", tls=False, method="POST", Host=name)
        assert (moved.status, moved.headers["location"]) == (308, f"https://{NAME}:8443/api/echo?a=b")
        assert "strict-transport-security" not in moved.headers, "browsers ignore it without TLS"
    assert edge.get("/", Host="shop.test").headers["location"] == f"https://{NAME}:8443/"


def test_nobody_is_sent_to_a_temporary_certificate(edge: Edge) -> None:
    """Who asks for another name is sent to the canonical one, by the scheme that they came with."""
    served, reload = edge.folder / "certificates" / "served", ("exec", edge.name, "busybox", "kill", "-HUP", "1")

    def location(name: str) -> str:
        return edge.get("/api/echo", tls=False, Host=name).headers.get("location", "")

    (served / "edge.conf").write_text("set $is_temporary yes;\n")
    try:
        docker(*reload)
        assert wait_until(lambda: location(NAME) == "", 60)
        assert location("shop.test") == f"http://{NAME}:8080/api/echo"
        assert edge.get("/", Host="shop.test").headers["location"] == f"https://{NAME}:8443/"
    finally:
        (served / "edge.conf").unlink()
        docker(*reload)
    assert wait_until(lambda: location(NAME) == f"https://{NAME}:8443/api/echo", 60)


def test_behind_a_balancer_that_ends_tls_nothing_is_sent_in_a_circle(edge: Edge) -> None:
    output: dict[str, Any] = {
        "X_Forwarded_Proto": "https",
        "X_Forwarded_For": "203.0.113.9, 198.51.100.7",
        "Host": NAME,
    }
    got = received(edge.get("/api/echo", by=edge.trusted, tls=False, **output))
    assert (got["x-forwarded-proto"], got["host"]) == ("https", NAME)
    assert (got["x-forwarded-for"], got["x-real-ip"]) == ("198.51.100.7", "198.51.100.7"), "what the balancer has seen"
    output["X_Forwarded_Proto"] = "https, http"  # through two proxies, with plain HTTP between them
    assert received(edge.get("/api/echo", by=edge.trusted, tls=False, **output))["x-forwarded-proto"] == "https"
    output["X_Forwarded_Proto"] = "http"
    moved = edge.get("/api/echo", by=edge.trusted, tls=False, **output)
    assert (moved.status, moved.headers["location"]) == (308, f"https://{NAME}/api/echo")


def test_what_strangers_say_of_themselves_is_replaced(edge: Edge) -> None:
    lies: dict[str, Any] = {
        "X_Forwarded_Proto": "http", "X_Forwarded_For": "203.0.113.9", "X_Real_IP": "203.0.113.9", "Forwarded": "for=x",
        "X_Forwarded_Host": "evil.test", "X_Forwarded_Port": "1", "X_Request_ID": "mine", "Proxy": "http://evil.test",
    }  # fmt: skip
    got = received(edge.get("/api/echo", **lies))
    assert (got["x-forwarded-proto"], got["x-forwarded-host"]) == ("https", f"{NAME}:8443")
    output = " ".join(got[name] for name in ("x-forwarded-for", "x-real-ip", "x-request-id"))
    assert "203.0.113.9" not in output
    assert "mine" not in output
    assert not {"forwarded", "x-forwarded-port", "proxy"} & got.keys()
    assert edge.get("/api/echo", tls=False, X_Forwarded_Proto="https").status == 308


def test_an_app_is_sent_the_port_that_visitors_use(edge: Edge) -> None:
    """Django compares it with the Origin of a form; FastAPI makes redirects of it."""
    assert received(edge.get("/api/echo"))["host"] == f"{NAME}:8443"


def test_no_app_is_sent_another_name_than_the_one_that_chose_the_site(edge: Edge) -> None:
    """With an address in the request line the header Host may say anything."""
    for tls in (True, False):
        for host in ("other.test", "other.test:8443", f"{NAME}:1:other.test"):
            answer = edge.get(f"https://{NAME}/api/echo", tls=tls, Host=host)
            assert "other.test" not in f"{answer.headers} {answer.body!r}", answer


def test_unknown_names_and_bare_addresses_are_let_in_nowhere(edge: Edge) -> None:
    for name in (None, "other.test", "198.51.100.1"):
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            edge.connect(name)
    for tls in (True, False):
        for name in ("other.test", edge.stranger):
            with pytest.raises(ConnectionResetError):
                edge.get("/", tls=tls, Host=name)
    assert edge.get("/edge-health", tls=False, Host=edge.stranger).status == 200, "a balancer asks by address"
    assert edge.get("/edge-health", tls=False, Host=NAME).status == 200


def test_every_answer_has_the_headers_of_security(edge: Edge) -> None:
    too_big = edge.get("/api/echo", method="POST", Content_Length=str(2_000_000))
    answers = {"/": 200, "/api/echo": 200, "/assets/nope.js": 404, "/api/gone": 502, "/api/more": 200}
    for path, status in answers.items():
        answer = edge.get(path)
        assert (answer.status, SECURITY.items() - answer.headers.items()) == (status, set()), path
    assert (too_big.status, SECURITY.items() - too_big.headers.items()) == (413, set())
    assert edge.get("/api/more").headers["x-more"] == "more"


def test_a_header_that_the_app_sends_itself_is_not_sent_twice(edge: Edge) -> None:
    output = edge.get("/api/own").headers
    own = ("content-security-policy", "referrer-policy", "x-request-id")
    assert [output[name] for name in own] == ["default-src 'none'", "no-referrer", "own"]


def test_a_request_has_one_number_for_app_visitor_and_log(edge: Edge) -> None:
    answer = edge.get("/api/echo")
    number = answer.headers["x-request-id"]
    assert received(answer)["x-request-id"] == number
    assert wait_until(lambda: f'"request":"{number}"' in edge.log(), 60)
    given = edge.get("/api/echo", by=edge.trusted, X_Request_ID="of-the-balancer")
    assert received(given)["x-request-id"] == given.headers["x-request-id"] == "of-the-balancer"


def test_no_secret_of_an_address_is_logged(edge: Edge) -> None:
    for path in (
        "/api/echo?token=hush-1",
        "/api/gone?token=hush-2",
        "/assets/nope.js?token=hush-3",
        "/api/login?t=hush-4",
    ):
        edge.get(path, Referer=f"https://{NAME}/?token=hush-5", Authorization="Bearer hush-6", Cookie="s=hush-7")
    assert wait_until(lambda: '"path":"/api/login"' in edge.log(), 60)
    assert "hush" not in edge.log()


def test_logging_in_too_often_is_a_429_that_says_when_to_come_back(edge: Edge) -> None:
    path, by = "/api/login/once-more", "198.51.100.8"
    asked = [edge.get(path, by=edge.trusted, X_Forwarded_For=by) for _ in range(4)]
    assert [answer.status for answer in asked] == [200, 200, 200, 429]
    assert asked[-1].headers["retry-after"] == "20"
    assert SECURITY.items() <= asked[-1].headers.items()
    assert edge.get(path, by=edge.trusted, X_Forwarded_For="198.51.100.9").status == 200, "another visitor"
    assert edge.get("/api/echo", by=edge.trusted, X_Forwarded_For=by).status == 200, "another path"


def test_a_balancer_asks_as_often_as_it_likes(edge: Edge) -> None:
    """A limit of `/`, or of what begins as its question does, would take the host out."""
    assert {edge.get("/edge-health", tls=tls).status for tls in (True, False) for _ in range(4)} == {200}


def test_who_sends_slowly_is_let_go_and_keeps_nobody_out(edge: Edge) -> None:
    begun = f"POST /api/echo HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 9\r\n"
    with ExitStack() as stack:
        slow = [stack.enter_context(edge.connect()) for _ in range(60)]
        for number, connection in enumerate(slow):
            connection.sendall((begun + ("\r\nx" if number % 2 else "")).encode())
        assert edge.get("/api/echo").status == 200
        for connection in slow:
            answer = connection.recv(9999)  # within its own ten seconds, or this fails
            assert not answer or b" 408 " in answer.splitlines()[0]
    assert edge.get("/api/echo", X_Long="x" * 40_000).status == 400


def test_events_come_one_by_one(edge: Edge) -> None:
    with closing(edge.tls()) as connection:
        connection.request("GET", "/api/events", headers={"Host": NAME})
        answer = connection.getresponse()
        assert answer.readline() == b"data: one\n", "before the second was sent"
        assert edge.get("/api/go").status == 200
        assert b"data: two" in answer.read()


def test_a_websocket_passes(edge: Edge) -> None:
    words = f"GET /api/socket HTTP/1.1\r\nHost: {NAME}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with edge.connect() as connection:
        connection.sendall(words.encode())
        assert b" 101 " in connection.recv(9999)
        connection.sendall(b"hello")
        assert connection.recv(9) == b"hello"


def test_no_other_protocol_passes(edge: Edge) -> None:
    """By HTTP/2 without TLS a visitor would speak to the app past the edge, to paths that are not public."""
    more: dict[str, Any] = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2_Settings": "AAMAAABk"}
    assert not {"upgrade", "connection"} & received(edge.get("/api/echo", **more)).keys()


@pytest.mark.parametrize(("path", "streamed"), [("/api/stream", True), ("/api/echo", False)])
def test_an_upload_is_streamed_where_a_route_says_so(edge: Edge, path: str, streamed: bool) -> None:
    """Elsewhere the edge has it whole before the app hears of it: who sends slowly takes no place in the app."""
    with edge.connect() as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: 10\r\n\r\nhello".encode())
        connection.settimeout(10 if streamed else 0.5)
        if streamed:
            assert b" 200 " in connection.recv(9999)
            return
        with pytest.raises(TimeoutError):
            connection.recv(9999)
        connection.settimeout(10)
        connection.sendall(b"world")
        assert b" 200 " in connection.recv(9999)


def test_what_is_compressed_and_how_long_it_is_kept(edge: Edge) -> None:
    page, asset = edge.get("/"), edge.get("/assets/app-1.js", Accept_Encoding="gzip")
    assert (page.headers["cache-control"], edge.get("/books/7").headers["cache-control"]) == ("no-cache", "no-cache")
    assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "cache-control" not in edge.get("/assets/nope.js").headers
    assert asset.body == (edge.folder / "site" / "assets" / "app-1.js.gz").read_bytes()
    for path in ("/assets/bare-1.js", "/api/echo"):
        assert edge.get(path, Accept_Encoding="gzip").headers["content-encoding"] == "gzip", path
    assert "content-encoding" not in edge.get("/assets/app-1.js").headers
    assert asset.headers["vary"] == "Accept-Encoding"


def test_http_2_is_spoken_and_no_session_leaves_in_a_ticket(edge: Edge) -> None:
    context = edges.trusting(edge.folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with edge.connect(context=context) as connection:
        assert connection.selected_alpn_protocol() == "h2"
        assert connection.session is not None
        assert not connection.session.has_ticket


def test_a_hybrid_key_exchange_is_agreed_on(edge: Edge) -> None:
    """The client is an nginx as well, of the same OpenSSL, and offers one group alone."""
    assert "X25519MLKEM768" in docker("exec", edge.name, "busybox", "cat", "/etc/nginx/features/features.conf")
    for port, group in ((9555, "X25519MLKEM768"), (9556, "secp521r1")):
        (edge.folder / "state" / "edge" / f"{port}.conf").write_text(CLIENT.format(port=port, group=group, name=NAME))
        docker("exec", edge.name, "nginx", "-e", "/dev/null", "-c", f"/etc/edge/{port}.conf")
    ask = ["exec", edge.name, "busybox", "wget", "-q", "-O", "-"]
    assert '"x-forwarded-proto": "https"' in docker(*ask, "http://127.0.0.1:9555/api/echo")
    with pytest.raises(subprocess.CalledProcessError):
        docker(*ask, "http://127.0.0.1:9556/api/echo")


def test_tls_is_what_the_guideline_says(edge: Edge, tmp_path: Path) -> None:
    """Sslyze knows no hybrid group; the test above does."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--require-hashes"]
    pip += ["--no-deps", "--no-compile"]
    lock = str(ROOT / "requirements" / "sslyze.txt")
    subprocess.run([*pip, "--target", str(tmp_path), "--requirement", lock], check=True, capture_output=True)
    guideline = tmp_path / "guideline.json"
    guideline.write_text(json.dumps(GUIDELINE))
    words = [sys.executable, "-W", "ignore", "-m", "sslyze", f"--custom_tls_config={guideline}", "--certinfo"]
    words += [f"--certinfo_ca_file={edge.folder / 'certificates' / 'ca.pem'}", f"{NAME}:8443{{{edge.stranger}}}"]
    ran = subprocess.run(words, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    assert f"{NAME}:8443: OK - Compliant." in ran.stdout, f"{ran.stdout[-3000:]}\n{ran.stderr}"


def test_a_site_that_is_not_for_everybody_asks_for_a_password(edge: Edge) -> None:
    """The last of this file: the edge asks from now on."""
    edge.again(
        edge={**QUICK, "login": "STAGING_LOGIN"}, tls={"by": "file", **FILES}, line="STAGING_LOGIN=ann:in-a-harbour"
    )
    assert wait_until(lambda: edge.get("/").status == 401, 60)
    assert SECURITY.items() <= edge.get("/api/echo").headers.items()
    for password, status in (("in-a-harbour", 200), ("in-a-harbor", 401)):
        given = base64.b64encode(f"ann:{password}".encode()).decode()
        assert edge.get("/", Authorization=f"Basic {given}").status == status
    assert edge.get("/edge-health").status == 200, "a balancer has no password"
    assert "in-a-harbour" not in "".join(path.read_text() for path in edge.folder.glob("state/edge/generations/2/*"))
