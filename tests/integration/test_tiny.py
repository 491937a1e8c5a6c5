"""Another team's app: its own compose file, no database, no secrets."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing
from typing import Any

from deploy.core import yaml
from tests.support.edges import make_certificate
from tests.support.site import ROOT, Site, docker, free_port


def test_first_deploy_second_deploy_rollback_and_nothing_to_do(tiny: Site) -> None:
    """The whole life of a small site; from the second release on it has HTTPS, which no rollback takes away."""
    overlay = yaml.load((ROOT / "docker" / "compose.tls.yml").read_text())
    overlay["services"] = {"edge": overlay["services"]["edge"]}  # the certificate is put into the volume below
    tiny.write("docker/compose.tls.yml", yaml.dump(overlay))
    tiny.extra |= {
        "OPS_COMPOSE": '["docker/compose.yml", "docker/compose.tls.yml"]',
        "OPS_EDGE__TLS_PORT": str(free_port()),
    }
    tiny.commit()
    assert tiny.inv("plan", "--json").document["hosts"][0]["serving"] is None
    first = tiny.inv("deploy", "--json").document
    assert json.loads(tiny.get("/version")[1]) == {"release": first["release"]}
    again = tiny.inv("deploy", "--json").document
    assert (again["changed"], again["release"]) == (False, first["release"])
    assert tiny.inv("plan", "--json").document["hosts"][0]["steps"] == []
    assert "has no service with the role backup" in tiny.inv("backup.drill", code=2).stderr

    tiny.replace("app/app.py", "says hello", "says good day")
    tiny.commit()
    second = tiny.inv("deploy", "--json").document
    assert second["colour"] != first["colour"]
    assert json.loads(tiny.get("/version")[1]) == {"release": second["release"]}

    before = set(tiny.containers())
    secure: dict[str, Any] = {"OPS_DOMAIN": "localhost books.test", "OPS_TLS__BY": "file", **with_certificate(tiny)}
    framed = tiny.inv("deploy", "--json", **secure).document
    assert (framed["changed"], framed["release"], framed["generation"]) == (
        True,
        second["release"],
        second["generation"] + 1,
    )
    assert set(tiny.containers()) == before
    assert securely(tiny, "/version") == {"release": second["release"]}
    assert tiny.get("/version")[0] == 308

    back = tiny.inv("rollback", "--json").document
    assert "server_name localhost books.test;" in (tiny.state / "edge" / "current" / "nginx.conf").read_text()
    assert (back["release"], back["colour"]) == (first["release"], first["colour"])
    assert securely(tiny, "/version") == {"release": first["release"]}
    assert "no earlier release" in tiny.inv("rollback", code=2).stderr  # never back to the one that was left
    status = tiny.inv("status", "--json").document
    assert (status["env"], status["release"], status["colour"]) == ("local", first["release"], first["colour"])
    assert status["hosts"][0]["edge"]["generation"] == back["generation"]
    commands = [(entry["command"], entry["outcome"]) for entry in tiny.inv("history", "--json").document]
    assert commands == [("rollback", "in service"), *[("deploy", "in service")] * 3]

    tiny.inv("down")
    assert tiny.containers() == {}
    assert f"{tiny.app}/app:{second['release']}" in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    assert "--yes" in tiny.inv("down", "--volumes", code=2).stderr  # nobody can be asked here
    tiny.inv("down", "--volumes", "--yes")
    assert second["release"] not in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}")
    left = [name for name in docker("volume", "ls", "--quiet").split() if name.startswith(f"{tiny.app}-local")]
    assert left == [f"{tiny.app}-local_certificates"], "keys are nothing to lose by the way"
    assert tiny.inv("status", "--json").document["release"] is None


def with_certificate(tiny: Site) -> dict[str, str]:
    """Put a new certificate into the volume that the edge reads; return the settings that name it."""
    make_certificate(tiny.folder / "certificates", "localhost")
    own = tiny.folder / "certificates" / "served"
    image = docker("inspect", "--format={{.Image}}", f"{tiny.app}-local-edge-1").strip()
    mounts = (f"--volume={tiny.app}-local_certificates:/to", f"--volume={tiny.folder / 'certificates'}:/new:ro")
    copy = "busybox cp -R /new/. /to/ && busybox chown -R 10001:10001 /to/"
    docker("run", "--rm", "--network=none", "--user=0:0", *mounts, image, "busybox", "sh", "-euc", copy)
    return {"OPS_TLS__CERTIFICATE": str(own / "fullchain.pem"), "OPS_TLS__KEY": str(own / "privkey.pem")}


def securely(tiny: Site, path: str) -> Any:
    """Ask the site by HTTPS and read the JSON that it answers."""
    context = ssl.create_default_context(cafile=str(tiny.folder / "certificates" / "ca.pem"))
    port = int(tiny.extra["OPS_EDGE__TLS_PORT"])
    with closing(http.client.HTTPSConnection("localhost", port, timeout=10, context=context)) as connection:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
