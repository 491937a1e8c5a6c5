"""A tiny site whose edge serves HTTPS, with certificates from a server of the tests' own."""

from __future__ import annotations

import shutil
import socket
import ssl
from pathlib import Path

from cryptography import x509

from tests.support.acme import Acme
from tests.support.site import ROOT, Site, make_tiny

NAMES = ("books.test", "www.books.test")
COMPOSE = """services:
  edge:
    ports: ["${{EDGE_ADDRESS}}:${{EDGE_TLS_PORT}}:8443"]
    volumes: ["certificates:/etc/certificates:ro"]

  certificates:
    image: tiny/certificates
    volumes: ["certificates:/certificates", "{folder}:/acme:ro"]
    environment: {{REQUESTS_CA_BUNDLE: /acme/ca.pem}}
    dns: ["{address}"]
    read_only: true
    user: "10001:10001"
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    tmpfs: ["/tmp:mode=1777"]
    x-deploy: {{role: certificates}}

volumes:
  certificates: {{labels: {{bookreader-ops.keep: "true"}}}}
"""
TARGET = """
target "certificates" {
  context    = "docker"
  dockerfile = "certificates.Dockerfile"
  tags       = ["tiny/certificates"]
  secret     = ["id=ca,src=/etc/ssl/certs/ca-certificates.crt"]
}
"""


def make_certified(folder: Path, acme: Acme, tls_port: int = 443) -> Site:
    """A tiny site at an address of its own, on the port that the server asks for challenges."""
    site = make_tiny(folder)
    for name in ("certificates.Dockerfile", "certificates.Dockerfile.dockerignore"):
        shutil.copy(ROOT / "docker" / name, site.root / "docker")
    shutil.copytree(ROOT / "docker" / "certificates", site.root / "docker" / "certificates")
    site.write("docker/compose.tls.yml", COMPOSE.format(folder=acme.folder, address=acme.address))
    site.replace("deploy/app.toml", '"docker/compose.yml"]', '"docker/compose.yml", "docker/compose.tls.yml"]')
    site.replace("docker/bake.hcl", '"edge"]', '"edge", "certificates"]')
    site.write("docker/bake.hcl", (site.root / "docker/bake.hcl").read_text() + TARGET)
    site.commit("HTTPS")
    site.port = acme.http_port
    site.extra |= {
        "OPS_DOMAIN": " ".join(NAMES), "OPS_EDGE__ADDRESS": acme.address, "OPS_EDGE__TLS_PORT": str(tls_port),
        "OPS_TLS__BY": "acme", "OPS_TLS__SERVER": acme.directory,
    }  # fmt: skip
    return site


def presented(address: str, name: str = NAMES[0], port: int = 443) -> x509.Certificate:
    """The certificate that an address serves under a name."""
    context = ssl._create_unverified_context()  # noqa: S323  # the serial is what counts
    with (
        socket.create_connection((address, port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
        assert der
        return x509.load_der_x509_certificate(der)
