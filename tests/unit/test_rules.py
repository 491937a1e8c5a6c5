"""Promise: what a service asks of its host, and what nginx drops silently, is a finding with reason and place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.hosts.local import LocalHost
from deploy.release import desired
from deploy.security import inspect, judge, rules
from tests.support import samples


def bind(source: str) -> dict[str, Any]:
    return {"volumes": [{"type": "volume", "source": "data"}, {"type": "bind", "source": source, "target": "/x"}]}


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ({"privileged": True}, "compose-privileged"),
        ({"privileged": False, "cap_drop": ["ALL"], "cap_add": ["CHOWN"]}, ""),
        ({"cap_add": ["cap_sys_admin"]}, "compose-capability"),
        ({"cap_add": ["ALL"]}, "compose-capability"),
        ({"pid": "host"}, "compose-namespace"),
        ({"network_mode": "host"}, "compose-namespace"),
        ({"network_mode": "none", "pid": "service:a"}, ""),
        (bind("/var/run/docker.sock"), "compose-socket"),
        (bind("/"), "compose-folder"),
        (bind("/etc/"), "compose-folder"),
        (bind("/var/lib"), "compose-folder"),
        (bind("/var"), "compose-folder"),
        (bind("/etc/ssl/certs"), ""),
        (bind("/variable"), ""),
        (bind("/run/user/1000/docker.sock"), "compose-socket"),
        (bind("/var/lib/../../run/./docker.sock"), "compose-socket"),
        (bind("//var/run/docker.sock"), "compose-socket"),
        (bind("/run/containerd"), "compose-folder"),
        (bind("/srv/../etc"), "compose-folder"),
        (bind("/dev/sda1"), "compose-device"),
        (bind("/dev/net/tun"), ""),
        ({"devices": [{"source": "/dev/mem", "target": "/dev/mem"}]}, "compose-device"),
        ({"devices": [{"source": "/dev/mapper/root"}]}, "compose-device"),
        ({"devices": [{"source": "/dev/dri"}, {"source": "/dev/ttyUSB0"}]}, ""),
        ({"device_cgroup_rules": ["a *:* rwm"]}, "compose-device"),
        ({"device_cgroup_rules": ["c 1:3 mr"]}, ""),
        ({"security_opt": ["seccomp:unconfined"]}, "compose-unconfined"),
        ({"security_opt": ["apparmor=unconfined"]}, "compose-unconfined"),
        ({"security_opt": ["no-new-privileges:true", "seccomp=profile.json"]}, ""),
        ({"cap_add": ["DAC_READ_SEARCH"]}, "compose-capability"),
        ({"cap_add": ["CAP_SYS_RAWIO", "NET_ADMIN"]}, "compose-capability"),
        ({"cgroup": "host"}, "compose-namespace"),
        ({"networks": {"outside": None, "own": {}}}, "compose-namespace"),
        ({"post_start": [{"command": "true", "privileged": True}]}, "compose-privileged"),
    ],
)
def test_what_gives_a_service_the_host_is_found(spec: dict[str, Any], rule: str) -> None:
    networks = {"outside": {"name": "host", "external": True}, "own": {}}
    assert [name for name, _, _ in rules.host_access(spec, {}, networks)] == ([rule] if rule else [])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("location / { add_header X y; }", "nginx-add-header"),
        ("location / { if ($a) { add_header X y; } include headers.conf; }", "nginx-add-header"),
        ('location / { include "headers.conf"; add_header X y; }', ""),
        ("location / { # include headers.conf;\n add_header X y; }", "nginx-add-header"),
        ('location / { set $a "} include headers.conf; {"; add_header X y; }', "nginx-add-header"),
        ("location / { {# include headers.conf; #} add_header X y; }", "nginx-add-header"),
        ("{% if x %}location / { proxy_pass http://{{ live.app }}/; }{% endif %}", ""),
        ("location / { proxy_set_header A b; proxy_pass http://{{ live.app }}; }", "nginx-proxy-set-header"),
        ("location / { include proxy.conf; proxy_set_header A b; }", ""),
        ("location /a { alias /site/a/; }", "nginx-alias"),
        ("location ^~ /a { alias /site/a/; }", "nginx-alias"),
        ("location /a/ { alias /site/a/; }", ""),
        ("location = /a { alias /site/a/; }", ""),
        ("location /a { alias /site/a; }", ""),
        ("location /{{ a }} { alias /site/{{ a }}/; }", "nginx-alias"),
        ("location / { add_header X ${request_id}; }", "nginx-add-header"),
        ("{% if a %}server {{% else %}server {{% endif %} location / { add_header X y; } }", "nginx-add-header"),
        ("{% if a %}server {{% else %}server {{% endif %} location / { return 204; } }", ""),
        ("server { location / { add_header X y;", "nginx-add-header"),
    ],
)
def test_what_nginx_drops_or_lets_out_is_found(text: str, rule: str) -> None:
    found = [*rules.nginx("nginx/site.conf.j2", f"\n{text}\n")]
    assert [(one.id, one.line) for one in found] == ([(rule, 2)] if rule else [])


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"type": "none", "o": "bind", "device": "/"}, "compose-folder"),
        ({"type": "none", "o": "ro,bind", "device": "/var/run/docker.sock"}, "compose-socket"),
        ({"type": "none", "o": "bind", "device": "/srv/data"}, ""),
        ({"type": "none", "o": "rw, rbind", "device": "/"}, "compose-folder"),
        ({"type": "ext4", "device": "/dev/sda1"}, "compose-device"),
        ({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}, ""),
        ({"type": "nfs", "o": "addr=10.0.0.1", "device": ":/etc"}, ""),
        (None, ""),
    ],
)
def test_a_volume_that_is_a_folder_of_the_host_is_judged_as_one(options: dict[str, str] | None, rule: str) -> None:
    spec = {"volumes": [{"type": "volume", "source": "data", "target": "/x"}]}
    found = [name for name, _, _ in rules.host_access(spec, {"data": {"driver_opts": options}, "other": None}, {})]
    assert found == ([rule] if rule else [])


def test_what_another_service_or_another_block_does_is_another_finding() -> None:
    model = samples.model(samples.COMPOSE.replace(": {image:", ": {privileged: true, image:"))
    of_services = [one.fingerprint for one in rules.compose(model, {})]
    template = "".join(f"location /{name} {{ alias /site/; add_header X y; }}\n" for name in "ab")
    of_blocks = [one.fingerprint for one in rules.nginx("nginx/site.conf.j2", template)]
    assert len({*of_services}) == len(of_services) == 4
    assert len({*of_blocks}) == len(of_blocks) == 4


def test_both_are_judged_in_a_scan_by_their_place_and_nothing_to_look_at_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = samples.settings(tmp_path)
    spoiled = samples.COMPOSE.replace("  beat: {", "  beat: {privileged: true, ")
    monkeypatch.setattr(desired, "model", lambda *_: samples.model(spoiled))
    (tmp_path / "c.yml").write_text(spoiled)
    of_services, of_routes = inspect.by_rules(settings, LocalHost())
    assert (of_services.scope, of_services.unknown) == ("6 services, by rules of ours", "")
    assert [one.place for one in of_services.findings] == ["c.yml:11"]
    assert judge.judge(of_services, (), {}, settings).result == "FAIL"
    assert (of_routes.unknown, judge.judge(of_routes, (), {}, settings).result) == (
        "there is no block in nginx/*.j2", "UNKNOWN",
    )  # fmt: skip
    (tmp_path / "nginx").mkdir()
    (tmp_path / "nginx/site.conf.j2").write_text("location /a { alias /b/; }\n")
    (finding,) = inspect.by_rules(settings, LocalHost())[1].findings
    assert (finding.place, finding.then) == ("nginx/site.conf.j2:1", "location /a/")


@pytest.mark.parametrize("folder", ["nginx", *sorted(str(path) for path in (ROOT / "tests/apps").glob("*/nginx"))])
def test_our_own_templates_pass(folder: str) -> None:
    texts = {path: path.read_text() for path in (ROOT / folder).glob("*.j2")}
    assert sum(len(rules.blocks(text)) for text in texts.values())
    assert [one for path, text in texts.items() for one in rules.nginx(str(path), text)] == []


def test_compose_files_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    settings = load("local").model_copy(update={"root": tmp_path, "compose": ["none.yml"]})
    of_services, _ = inspect.by_rules(settings, LocalHost())
    assert "none.yml" in of_services.unknown
