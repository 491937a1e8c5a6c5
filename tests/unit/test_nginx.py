"""The edge's configuration as text."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.config.compose import Service
from deploy.config.sections import Edge, Tls
from deploy.config.settings import ROOT
from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.facts import Container
from deploy.core.model import WHOLE, Deploy, ReleasedService
from deploy.core.shell import Command, Result
from deploy.edge import frame, nginx, running, switch
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from tests.support.samples import container, settings

WEB = (Service("backend", Deploy(role="web", port=8000), {}, True),)
TWO = (*WEB, Service("api", Deploy(role="web", port=9000), {}, False))
BLUE, GREEN, NONE = nginx.Route("blue", "r1"), nginx.Route("green", "r1"), nginx.Route()
PAGE = nginx.Route("blue", "r1", maintenance=True)


def render(route: nginx.Route, web: tuple[Service, ...] = WEB, **more: object) -> str:
    """Return all that nginx reads of the public port.

    The frame, with its other files and the routes where it includes them.
    """
    found = settings(ROOT, **more)
    main, *others = frame.render(found).items()
    text = main[1].text.replace("include routes.conf;", nginx.render(found, web, route))
    for name, file in others:
        text = text.replace(f"include {name};", file.text)
    return text


def released(*web: Service, replicas: int = 1) -> list[ReleasedService]:
    return [ReleasedService(name=s.name, image="", deploy=s.deploy, replicas=replicas) for s in web]


def inner(route: nginx.Route, web: tuple[Service, ...] = WEB) -> str:
    """Render the inner listener of a generation that serves a route with these services."""
    found = nginx.upstreams(settings(ROOT), released(*web), (), (), route.colour or "")
    health = nginx.health_paths(released(*web), route.colour)
    return nginx.generated(7, replace(route, upstreams=found, health=health))["inner.conf"]


def blocks(text: str, head: str) -> list[str]:
    """Return the blocks that begin with a word, braces balanced."""
    found = []
    for start in re.finditer(rf"(?m)^\s*{head}\b[^\n;{{]*{{", text):
        depth, at = 1, start.end()
        while depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        found.append(text[start.start() : at])
    return found


@pytest.mark.parametrize("route", [BLUE, GREEN, NONE], ids=["blue", "green", "none"])
@pytest.mark.parametrize("web", [WEB, TWO], ids=["one service", "two services"])
def test_both_colours_are_probed_on_the_inner_listener(route: nginx.Route, web: tuple[Service, ...]) -> None:
    assert all(f"include {name};" in render(route, web) for name in ("upstreams.conf", "inner.conf"))
    text = inner(route, web)
    for service in web:
        for colour in ("blue", "green"):
            assert f"location /{colour}/{service.name}/ {{\n        proxy_pass http://{service.name}_{colour}/;" in text
    assert text.count("{") == text.count("}")
    assert render(route, web).count("{") == render(route, web).count("}")


def servers(live: str, members: tuple[str, ...], *there: Container, replicas: int = 1) -> dict[str, list[str]]:
    """Render upstreams: name -> servers."""
    found = nginx.upstreams(settings(ROOT), released(*TWO, replicas=replicas), there, members, live)
    text = nginx.generated(7, nginx.Route(live, "r1", upstreams=found))["upstreams.conf"]
    assert text.count("zone ") == text.count("keepalive 32;") == 4
    return {
        block.split()[1]: re.findall(r"server shop-local-(\S+) resolve max_fails=0;", block)
        for block in blocks(text, "upstream")
        if f"zone {block.split()[1]} 256k;" in block
    }  # fmt: skip


def replica(colour: str, number: int) -> Container:
    name = nginx.replica(settings(ROOT), "backend", colour, number)
    return replace(container("backend", colour, number=number), name=name)


def test_upstreams_name_the_members_of_the_live_colour_and_whatever_may_come_in_the_idle_one() -> None:
    first, second, odd = replica("blue", 1), replica("blue", 2), replica("green", 7)
    found = servers("blue", (second.name,), first, second, odd, replicas=2)
    assert found["backend_blue"] == ["blue-backend-blue-2:8000"], "what is not named is not served, though it runs"
    assert found["backend_green"] == [f"green-backend-green-{n}:8000" for n in (7, 1, 2)], (
        "what is there, and what will be"
    )
    assert found["api_green"] == ["green-api-green-1:9000", "green-api-green-2:9000"]
    assert found["api_blue"] == ["blue-api-blue-1:9000", "blue-api-blue-2:9000"], (
        "nginx takes no upstream without a server"
    )


def test_a_rolling_release_serves_from_both_colours_in_one_upstream() -> None:
    old, new = replica("blue", 2), replica("green", 1)
    found = servers("green", (new.name, old.name), replica("blue", 1), old, new, replicas=2)
    assert found["backend_green"] == ["blue-backend-blue-2:8000", "green-backend-green-1:8000"]
    assert found["backend_blue"] == ["blue-backend-blue-1:8000", "blue-backend-blue-2:8000"]


def test_between_the_colours_only_proxy_pass_differs() -> None:
    differ = [
        pair for pair in zip(render(BLUE).splitlines(), render(GREEN).splitlines(), strict=True) if pair[0] != pair[1]
    ]
    assert differ
    assert all(
        "proxy_pass" in blue and blue.replace("backend_blue", "backend_green") == green for blue, green in differ
    )
    assert "blue" not in blocks(render(GREEN), "server")[0]


def test_a_balancer_hears_of_every_service_that_serves() -> None:
    public = blocks(render(GREEN, TWO), "server")[0]
    assert "/well/0;" in blocks(public, "location = /edge-health")[0]
    asked = [
        re.findall(r"auth_request (\S+);|proxy_pass http://127.0.0.1:9180(\S+);", block)
        for block in blocks(inner(GREEN, TWO), "location = /well/")
    ]
    assert asked == [[("/green/backend/health", ""), ("", "/well/1")], [("/green/api/health", ""), ("", "/well/2")], []]
    assert "edge-health {" not in blocks(render(NONE), "server")[0], "it gets the 503 that visitors get"


def test_what_a_reload_without_loss_needs() -> None:
    text = render(BLUE)
    for line in (
        "keepalive_min_timeout 5s;",
        "resolver 127.0.0.11 valid=1s",
        "proxy_next_upstream off;",
        "worker_shutdown_timeout 24h;",
    ):
        assert line in text
    assert re.search(r"proxy_http_version 1.1;", text)
    assert re.search(r"proxy_set_header Connection \$connection_upgrade;", text)


def test_the_inner_listener_proves_the_generation() -> None:
    public = blocks(render(BLUE), "server")[0]
    assert "listen 9180;" in inner(BLUE)
    assert """return 200 '{"generation":7,"colour":"blue","release":"r1","maintenance":false}';""" in inner(BLUE)
    assert "listen 8080;" in public
    assert not re.search("generation|stub_status|/green/|/blue/|replica", public)


def test_of_the_bare_paths_health_and_version_alone_are_public() -> None:
    public = blocks(render(BLUE), "server")[0]
    passed = re.findall(r"proxy_pass http://backend_blue(/\w*)?;", public)
    assert sorted(filter(None, passed)) == ["/health", "/version"]
    without_path = [
        block for block in blocks(public, "location") if re.search(r"proxy_pass http://backend_blue;", block)
    ]
    assert without_path
    assert all(re.search(r"location (= )?/api/", block) for block in without_path), (
        "a path goes through as it is only below /api/"
    )


def test_without_a_release_the_site_says_so_and_names_no_upstream() -> None:
    public = blocks(render(NONE), "server")[0]
    assert "return 503" in public
    assert "proxy_pass" not in public
    assert '"colour":"","release":""' in inner(NONE)


def test_a_mistake_in_the_template_is_refused_by_name(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "nginx", tmp_path / "nginx")
    (tmp_path / "nginx" / "site.conf.j2").write_text("{{ live.nobody }}")
    with pytest.raises(Refused, match=r"nobody"):
        nginx.render(settings(tmp_path), WEB, BLUE)


def test_the_frame_knows_no_release_and_the_log_has_it_from_the_generation() -> None:
    text = frame.render(settings(ROOT))["nginx.conf"].text
    assert "include routes.conf;" in blocks(text, "server")[0]
    assert not re.search(r"blue|green|backend|\br1\b", text.partition("http {")[2])
    assert "location" not in blocks(text, "server")[0]
    named = set(re.findall(r"\$(serving_\w+)", text))
    for route, values in (
        (BLUE, ("blue", "r1", "")),
        (NONE, ("none", "none", "no release")),
        (PAGE, ("blue", "r1", "maintenance")),
    ):
        output = dict(re.findall(r'map \$host \$(serving_\w+) { default "(.*)"; }', inner(route)))
        assert output == dict(zip(("serving_colour", "serving_release", "serving_page"), values, strict=True))
        assert output.keys() == named


def test_the_routes_of_a_release_stay_when_the_frame_changes() -> None:
    """The routes are a part of what names a release; the frame has a name of its own."""
    one = settings(ROOT)
    other = one.model_copy(update={"domain": "other.test"})
    assert nginx.render(one, WEB, BLUE) == nginx.render(other, WEB, BLUE)
    assert frame.fingerprint(frame.render(one)) != frame.fingerprint(frame.render(other))


def test_an_app_brings_a_frame_of_its_own_and_the_toolkit_the_rest(tmp_path: Path) -> None:
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge" / "frame.conf.j2").write_text("# for {{ domain }}\n")
    own = settings(tmp_path, nginx="edge")
    assert frame.render(own)["nginx.conf"].text == "# for shop.test\n"
    assert frame.render(own)["headers.conf"].text == "", "its variables are of the toolkit's frame"
    assert nginx.render(own, WEB, BLUE) == nginx.render(settings(ROOT), WEB, BLUE)


def test_a_template_of_an_older_toolkit_is_refused_with_what_to_make_of_it(tmp_path: Path) -> None:
    """Nothing of it would be read any more."""
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx" / "edge.conf.j2").write_text("")
    with pytest.raises(Refused, match=r"edge\.conf\.j2 is read no more") as refused:
        frame.render(settings(tmp_path))
    assert "nginx/frame.conf.j2" in refused.value.then
    with pytest.raises(ValidationError, match=r'nginx = "nginx"'):
        settings(tmp_path, nginx="nginx/edge.conf.j2")


class Old(LocalHost):
    """A host whose nginx says a version."""

    def __init__(self, message: str) -> None:
        self.executed = message

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return Result(0, "", self.executed)


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ("nginx version: nginx/1.30.6", (1, 30, 6)),
        ("nginx version: nginx/1.27.4 (Debian)\n", (1, 27, 4)),
        ("nginx version: nginx/1.29.0-beta", (1, 29, 0)),
        ("exec: nginx: not found", ()),
        ("", ()),
    ],
)
def test_version(message: str, found: tuple[int, ...]) -> None:
    assert nginx.version(message) == found


@pytest.mark.parametrize("message", ["nginx version: nginx/1.27.3", "nginx version: nginx/1.9.15", "no nginx here"])
def test_an_old_or_unknown_nginx_is_refused(message: str) -> None:
    with pytest.raises(Refused, match=r"1\.27\.4"):
        running.require_version(Old(message), "app/edge")


def test_a_new_nginx_will_do() -> None:
    running.require_version(Old("nginx version: nginx/1.27.4"), "app/edge")


def test_an_engine_that_passes_on_nothing_is_asked_again() -> None:
    output = [Result(0, "", ""), Result(125, "", "cannot start"), Result(0, "", "nginx version: nginx/1.27.4")]
    host = Old("")
    host.try_run = lambda *_, **__: output.pop(0)  # type: ignore[method-assign]  # one answer after the other
    running.require_version(host, "app/edge")
    output = [Result(125, "", "cannot start")] * 3
    with pytest.raises(Refused, match=r"unknown \(`nginx -v` in its image ended with 125: cannot start\)"):
        running.require_version(host, "app/edge")


def test_the_maintenance_page_replaces_the_app_and_keeps_the_colour() -> None:
    route = nginx.Route("blue", "r1", maintenance=True)
    assert '"colour":"blue","release":"r1","maintenance":true' in inner(route)
    public = blocks(render(route), "server")[0]
    assert "return 503 '<!doctype html>" in public
    assert "backend" not in public
    assert len(blocks(inner(route), "location = /well/")) == 1, "the page is what visitors must get"
    page = (ROOT / "nginx" / "maintenance.html").read_text()
    assert len(nginx.quoted(page)) < 4000, "nginx takes no longer word"
    assert nginx.quoted("it's\n  $5 \\") == "it&#39;s &#36;5 &#92;"


def test_a_member_keeps_the_port_that_the_generation_before_named() -> None:
    """A rolling release whose service listens on another port serves from old and new replicas at once."""
    old, new = replica("blue", 1), replica("green", 1)
    registered = {"backend_blue": (f"{old.name}:7000",), "backend_green": (f"{new.name}:8000", f"{old.name}:8000")}
    for upstreams in (registered, dict(reversed(registered.items()))):
        before = nginx.Route("blue", "r1", members=(old.name,), upstreams=upstreams)
        found = nginx.upstreams(settings(ROOT), released(*WEB), (old, new), (new.name, old.name), "green", before)
        assert found["backend_green"] == (f"{old.name}:7000", f"{new.name}:8000")


def test_a_route_is_read_back_and_a_damaged_one_is_none() -> None:
    route = nginx.Route(
        "blue", "r1", members=("a",), upstreams={"backend_blue": ("a:8000", "10.0.0.9:18000")}, health=("/blue/b/up",)
    )
    for found in (route, replace(route, frame="f" * 12, former=4, modes={"key.pem": 0o600})):
        assert nginx.read_route(found.dump(9)) == (9, found)
    old = json.loads(route.dump(9))
    for key in ("frame", "former", "modes"):
        del old[key]
    assert nginx.read_route(json.dumps(old)) == (9, replace(route, frame=WHOLE)), "an older toolkit wrote one file"
    for text in (None, "", "{", "[]", '{"generation": 1}', "\0" * 9, '{"generation": "x", "colour": null}'):
        assert nginx.read_route(text) is None


def test_a_route_is_read_from_what_nginx_reads_where_its_record_is_damaged() -> None:
    upstreams = {"backend_blue": ("a-1:8000", "10.0.0.9:18000"), "backend_green": ("b-1:8000",)}
    for maintenance in (False, True):
        route = nginx.Route(
            "blue", "r1", maintenance, ("a-1",), upstreams, () if maintenance else ("/blue/backend/health",)
        )
        files = nginx.generated(9, route)
        assert nginx.read_generated(files["inner.conf"], files["upstreams.conf"]) == (9, route)
    assert nginx.read_generated("", "") is None
    none = nginx.Route(upstreams=upstreams)
    files = nginx.generated(1, none)
    assert nginx.read_generated(files["inner.conf"], files["upstreams.conf"]) == (1, none)


def test_only_a_name_is_resolved_again_and_again() -> None:
    text = nginx.block("backend_blue", ["shop-local-blue-backend-blue-1:8000", "10.0.0.9:18000"])
    assert "server shop-local-blue-backend-blue-1:8000 resolve max_fails=0;" in text
    assert "server 10.0.0.9:18000 max_fails=0;" in text


class Refusing(LocalHost):
    """A host on which nginx refuses a configuration with these words."""

    def __init__(self, words: str) -> None:
        self.words = words

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        raise CommandFailed(str(command), 1, self.words, "here")


@pytest.mark.parametrize(
    ("words", "slug", "then"),
    [
        ('open() "/etc/edge/g/3/nginx.conf" failed (2: No such file or directory)', "edge-folder-replaced",
         "docker restart shop-edge-1, an outage of seconds, then inv deploy"),
        ('unknown directive "nonsense" in /etc/edge/g/3/nginx.conf:9', "edge-config-invalid", "fix nginx/"),
        ('open() "/etc/edge/g/3/more.conf" failed (2: No such file or directory) in /etc/edge/g/3/nginx.conf:2',
         "edge-config-invalid", "fix nginx/"),
    ],
)  # fmt: skip
def test_an_edge_that_does_not_see_what_was_written_is_told_from_a_template_that_is_wrong(
    words: str, slug: str, then: str
) -> None:
    with pytest.raises(OpsError) as failure:
        switch.test(Refusing(words), "shop-edge-1", "/etc/edge/g/3/nginx.conf")
    assert (failure.value.slug, then in failure.value.then) == (slug, True)


@pytest.mark.parametrize(
    ("domain", "closed"),
    [
        ("shop.test", True), ("*.shop.test shop.test", True), ("localhost", False), ("localhost shop.test", False),
        ("_", False), ("192.0.2.7", False),
    ],
)  # fmt: skip
def test_an_edge_is_closed_to_other_names_where_its_own_are_of_the_dns(domain: str, closed: bool) -> None:
    assert ("listen 8080 default_server;" in render(BLUE, domain=domain)) is closed


@pytest.mark.parametrize(
    ("tls", "hsts"),
    [
        ({}, ""), ({"by": "acme"}, ""),
        ({"by": "acme", "server": "https://acme-staging-v02.api.letsencrypt.org/directory"}, ""),
        ({"by": "acme", "server": "production"}, "max-age=63072000"),
        ({"by": "file", "certificate": "a", "key": "b", "hsts_seconds": 0}, "max-age=0"),
    ],
)  # fmt: skip
def test_browsers_are_held_to_https_only_where_they_trust_the_certificate(tls: dict[str, Any], hsts: str) -> None:
    text = render(BLUE, tls=Tls(**tls))
    assert f'$sent_transport_security {{ "https:" "{hsts}"; }}' in text
    assert ("listen 8443 ssl;" in text) is bool(tls)
    assert ("set $to_scheme https;" in text) is bool(hsts), "visitors are sent where browsers let them in"
    assert ("acme-challenge/ {" in text) is (tls.get("by") == "acme")


def test_an_edge_asks_the_one_that_obtains_the_certificate_for_a_challenge_that_it_has_not() -> None:
    """A server of ACME asks any of them; one that was asked so asks no further."""
    hosts = {"a": Server(address="192.0.2.1", private="10.0.0.1"), "b": Server(address="192.0.2.2")}
    text = render(BLUE, tls=Tls(by="acme"), hosts=hosts, edge=Edge(port=80))
    (asked,) = blocks(text, "location @issuer")
    assert "set $issuer 10.0.0.1:80;" in asked
    assert "$scheme = https" in asked, "what came over a plain line is not said by HTTPS"
    assert "if ($http_x_asked_by_edge)" in asked
    assert "try_files $uri @issuer;" in text
    for others in ({}, {"b": Server(address="192.0.2.2", roles=["app"])}):
        assert "@issuer" not in render(BLUE, tls=Tls(by="acme"), edge=Edge(port=80), hosts={"a": hosts["a"], **others})


def test_a_name_with_capitals_is_not_redirected_in_a_circle() -> None:
    """What nginx calls $host has none."""
    text = render(BLUE, domain="WWW.shop.test shop.test", edge=Edge(canonical="WWW.shop.test"))
    assert "if ($host != www.shop.test)" in text


def test_the_toolkit_asks_by_a_name_of_the_site() -> None:
    for domain, name in (("*.shop.test a.test", "www.shop.test"), ("localhost b", "localhost"), ("_", "localhost")):
        assert frame.asked_at(settings(ROOT, domain=domain)) == (8080, name)
    secure = settings(ROOT, tls=Tls(by="acme"))
    assert frame.asked_at(secure) == (9180, "visitors")
    (asked,) = [block for block in blocks(frame.render(secure)["nginx.conf"].text, "server") if "listen 9180" in block]
    assert "include routes.conf;" in asked
    assert "308" not in asked


def test_the_app_is_named_what_chose_the_server_and_never_a_header_alone() -> None:
    """Of `GET https://shop.test/` with `Host: evil.test` nginx takes the former, and $http_host is the latter."""
    files = frame.render(settings(ROOT, tls=Tls(by="acme")))
    text = "\n".join(file.text for file in files.values())
    assert re.findall(r".*\$http_host\b.*", text) == ["    map $http_host $visitor_port {"]
    (port,) = re.findall(r'"~(\S+)" \$given_port;', text)
    hosts = {"shop.test:8443": ":8443", "[::1]": None, "shop.test": None, "shop.test:x": None}
    for host, expected in hosts.items():
        found = re.search(port.replace("?<", "?P<"), host)
        assert (found and found["given_port"]) == expected
    assert re.search(r"map \$host \$visitor_host {\s+default \$host\$visitor_port;", text)


def test_a_limit_lets_a_minutes_requests_come_at_once() -> None:
    text = render(BLUE, edge=Edge(limits={"/api/v1.0/": 30, "/login": 1}))
    assert "zone=limit_1:10m rate=30r/m;" in text
    (pattern,) = re.findall(r'if \(\$uri ~ "(.*)"\) { set \$limited_1 ', text)
    assert re.match(pattern, "/api/v1.0/books")
    assert not re.match(pattern, "/api/v1x0/books")
    assert re.findall(r"limit_req (zone=.*);", text) == ["zone=limit_1 burst=29 nodelay", "zone=limit_2"]
    assert '"REJECTED:" 60;' in text


def test_no_limit_counts_a_balancers_question_or_a_challenge() -> None:
    """A limit of every path would take the host out, and keep it from a certificate."""
    (pattern,) = re.findall(r'if \(\$uri ~ "(.*)"\)', render(BLUE, edge=Edge(limits={"/": 30})))
    paths = {"/": True, "/edge-healthy": True, "/edge-health": False, "/.well-known/acme-challenge/x": False}
    assert {path: bool(re.match(pattern, path)) for path in paths} == paths
