"""Recovery points that a host takes by itself: a script there does what `inv backup` does, and a timer runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

from deploy.backups.points import EVIDENCE
from deploy.backups.repository import SHORT, Repository, repository_of
from deploy.config.environment import Environment
from deploy.core.model import VERSION
from deploy.site import timers
from deploy.state.ledger import LEDGER
from deploy.state.locks import LOCKS

SCRIPT = "backup.sh"
# the release is looked up when it runs: by then others have been deployed
TEMPLATE = r"""#!/bin/sh
# Takes a recovery point, as inv backup does. Written by inv backup.schedule: changes are lost with its next run.
set -eu
cd {folder}
umask 077
mkdir -p metrics
chmod 755 metrics
alive=
finish() {{
  result=$?
  time=$(date +%s)
  kill "$alive" 2>/dev/null || true
  if [ "$result" = 0 ]; then echo "$time" >metrics/backup.success; fi
  {{
    echo "# TYPE ops_backup_last_attempt_timestamp_seconds gauge"
    echo "ops_backup_last_attempt_timestamp_seconds{{app=\"{name}\"}} $time"
    echo "# TYPE ops_backup_last_exit_code gauge"
    echo "ops_backup_last_exit_code{{app=\"{name}\"}} $result"
    echo "# TYPE ops_backup_last_success_timestamp_seconds gauge"
    if [ -s metrics/backup.success ]; then
      echo "ops_backup_last_success_timestamp_seconds{{app=\"{name}\"}} $(cat metrics/backup.success)"
    fi
  }} >metrics/backup.prom.part
  chmod 644 metrics/backup.prom.part
  mv metrics/backup.prom.part metrics/backup.prom
  rm -f backup.printed
}}
trap finish EXIT
exec 9<>{lock} 8<>{changing}
flock --nonblock 9 && flock --nonblock --shared 8 || {{
  echo "another backup, or a migration, has the lock" >&2
  exit 4
}}
since=$(date --utc +%FT%TZ)
holder="{{\"who\":\"{name}\",\"pid\":$$,\"command\":\"the nightly backup\",\"since\":\"$since\"}}"
printf '%-500s\n' "$$ $holder" \
  | dd of={lock} conv=notrunc status=none
# a sign of life for those who look, and the dump's own hold on the lock, also once this script was killed
while sleep 5; do touch {lock}; done 8<&- 9<&- &
alive=$!


release=$(sed -n 's/.*"release": *"\([^"]*\)".*"outcome": *"in service".*/\1/p' {ledger} | tail -n 1)
[ -n "$release" ] || {{ echo "no release is in service" >&2; exit 2; }}
docker rm {container} >/dev/null 2>&1 || true # what a crash of the engine left; one that runs stays
{command} >backup.printed 9<&-
manifest=$(head -n 1 backup.printed)
point=$(sed -n 's/.*"snapshot_id": *"\([0-9a-f]\{{{short}\}}\).*/\1/p' backup.printed)
[ -n "$point" ] || {{ echo "restic named no snapshot" >&2; exit 1; }}
printf '{{"version":{version},"point":"%s","state":"taken","time":"%s","release":"%s","manifest":%s}}\n' \
  "$point" "$(date --utc +%Y-%m-%dT%H:%M:%SZ)" "$release" "$manifest" >>{evidence}
"""


def render(repository: Repository, folder: Path) -> str:
    """Write the script that takes a recovery point on its host. Pure."""
    release = repository.run.release.id
    words = " ".join(
        '"' + word.replace(release, "$release") + '"' if release in word else shlex.quote(word)
        for word in repository.taking.argv
    )
    return TEMPLATE.format(
        folder=shlex.quote(str(folder)), lock=LOCKS["dump"].file, changing=LOCKS["dump"].changing,
        name=repository.host_name, ledger=LEDGER, container=repository.container,
        command=words, short=SHORT, version=VERSION, evidence=EVIDENCE,
    )  # fmt: skip


def timer(at: Environment) -> timers.Timer:
    """Describe the timer of an environment's backups."""
    settings = at.settings
    # the lock's file stands there for those who look who holds it
    line = shlex.join(["/bin/sh", str(settings.state_dir / SCRIPT), LOCKS["dump"].file])
    return timers.Timer(
        f"{settings.name}-backup", f"recovery point of {settings.name}", line, settings.backup.at,
        settings.backup.jitter_minutes, "inv backup.schedule",
    )  # fmt: skip


def install(at: Environment) -> str:
    """Install or renew the schedule on the host that has the data; say when it runs."""
    repository = repository_of(at)
    host = repository.run.host
    timers.kind(host)
    host.write(at.settings.state_dir / SCRIPT, render(repository, at.settings.state_dir), mode=0o700)
    when = timers.install(host, timer(at))
    return f"{host.name} takes a recovery point every day, {when}; inv backup.list shows them"


def remove(at: Environment) -> str:
    """Take the schedule away from whatever host has it; say so."""
    script = at.settings.state_dir / SCRIPT
    having = [host for host in at.hosts if host.read(script) is not None]
    for host in having:
        timers.remove(host, timer(at))
        host.remove(script)
    names = ", ".join(host.name for host in having)
    return f"{names} takes no recovery points by itself any more" if having else "there is no schedule"
