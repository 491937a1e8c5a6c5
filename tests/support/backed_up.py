"""An app whose database and uploads are backed up, with everything that must not get into a drill."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from deploy.config import compose
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.core.model import Release, ReleasedService
from deploy.release import desired
from tests.support import samples

COMPOSE = """
services:
  backend:
    image: app/backend
    command: [serve]
    x-deploy: {role: web, port: 8000, migrate: [alembic, upgrade, head], smoke: [smoke]}
    networks: {edge: {aliases: [api]}, data: null}
    environment: {REDIS_URL: "redis://redis:6379"}
    ports: [{target: 8000, published: "8000"}]
    extra_hosts: ["live.example.org=192.0.2.1"]
    privileged: true
    labels: {traefik.enable: "true"}
    logging: {driver: syslog, options: {syslog-address: "tcp://192.0.2.2"}}
    volumes:
      - {type: volume, source: uploads, target: /uploads, volume: {}}
      - {type: bind, source: /srv/media, target: /media}
      - {type: bind, source: /etc/app.conf, target: /etc/app.conf, read_only: true}
      - {type: bind, source: /var/run/docker.sock, target: /var/run/docker.sock, read_only: true}
  mail: {image: app/mail, x-deploy: {role: web, port: 8000}, networks: {edge: null}}
  worker: {image: app/backend, x-deploy: {role: worker}, networks: {data: null}}
  postgres:
    image: postgres
    x-deploy: {role: data, port: 5432, backup: dump}
    networks: {data: {ipv4_address: 172.30.0.2}}
    restart: unless-stopped
    volumes: [{type: volume, source: postgres, target: /var/lib/postgresql/data, volume: {}}]
  redis: {image: redis, x-deploy: {role: data, port: 6379}, network_mode: host, volumes: [{type: bind, source: /srv/redis, target: /data}]}
  edge: {image: app/edge, x-deploy: {role: edge}, networks: {edge: null}, ports: [{target: 8080, published: "80"}]}
  backup:
    image: app/backup
    x-deploy: {role: backup}
    networks: {data: null}
    environment: {PGHOST: postgres, RESTIC_REPOSITORY: /backups/books}
    volumes:
      - {type: bind, source: /var/lib/shop, target: /record, read_only: true}
      - {type: volume, source: backups, target: /backups, volume: {}}
      - {type: volume, source: staging, target: /staging, volume: {}}
      - {type: volume, source: uploads, target: /data/uploads, read_only: true, volume: {}}
networks: {edge: {}, data: {name: live-data, driver_opts: {parent: eth0}}}
volumes:
  postgres: {driver_opts: {type: none, o: bind, device: /srv/postgres}}
  uploads: {name: live-uploads}
  backups: {}
  staging: {}
"""
IMAGES = {f"app/{name}": f"sha256:{name}" for name in ("backend", "mail", "edge", "backup")}
IMAGES |= {name: f"sha256:{name}" for name in ("postgres", "redis")}


@cache
def model(text: str = COMPOSE) -> compose.Model:
    """Read what Compose would have merged."""
    return compose.check(yaml.load(text), {"backend", "postgres", "backup"}, Path("/nowhere"), "c.yml")


@cache
def release(name: str, text: str = COMPOSE) -> Release:
    """Make a release of the app."""
    services = (ReleasedService(name=s.name, image=IMAGES[s.image], deploy=s.deploy) for s in model(text).services)
    return samples.release(name).model_copy(update={"services": tuple(services)})


@cache
def rendered(text: str = COMPOSE) -> dict[str, str]:
    """Render a release of the app."""
    return desired.render_all(samples.settings(ROOT), model(text), IMAGES, "r", "/state/env")
