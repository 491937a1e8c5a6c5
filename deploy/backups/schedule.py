"""Recovery points that a host takes by itself: a script there does what `inv backup` does, and a timer runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

from deploy.backups.points import EVIDENCE, FEW, LEAST_PART, SHORT
from deploy.backups.repository import Repository, repository_of
from deploy.config.environment import Environment
from deploy.core.errors import acting
from deploy.core.model import VERSION
from deploy.core.shell import LONG, Command, command
from deploy.hosts.host import Host
from deploy.site import script, timers
from deploy.state.ledger import LEDGER
from deploy.state.locks import LOCKS

SCRIPT, ORDER = "backup.sh", "backup.notify"
POINT = "POINT"  # stands for the point that the script has just taken
# the release is looked up when it runs: by then others have been deployed
TEMPLATE = r"""#!/bin/sh
# Takes a recovery point, as inv backup does. Written by inv backup.schedule: changes are lost with its next run.
set -eu
cd {folder}
umask 077
alive="" running="" error="it did not begin" release="" point="" suspect=0 notified="" within={within}
# people are notified first, and nothing that fails in here ends it: the disk may be full
finish() {{
  result=$?
  set +e
  trap '' TERM INT HUP
  time=$(date +%s)
  for process in $alive $running; do kill "$process" 2>/dev/null; done
  if [ "$result" != 0 ] && [ -s {order} ]; then
    if printed=$(report 2>&1); then notified=1; else notified=0; fi
    echo "$printed" >>backup.log
  fi
  if [ "$result" = 0 ]; then echo "$time" >metrics/backup.success; fi
  {{
    if [ -n "$notified" ]; then metric notified "$notified"; fi
    if [ -s metrics/backup.success ]; then metric success_timestamp_seconds "$(cat metrics/backup.success)"; fi
    if [ -s metrics/backup.offsite ]; then metric offsite_timestamp_seconds "$(cat metrics/backup.offsite)"; fi
    metric suspect "$suspect"
    metric exit_code "$result"
    metric attempt_timestamp_seconds "$time"
  }} >metrics/backup.prom.part && chmod 644 metrics/backup.prom.part && mv metrics/backup.prom.part metrics/backup.prom
  rm -f backup.printed
  if [ -s backup.log ]; then cat backup.log >&2; fi
}}
metric() {{
  echo "# TYPE ops_backup_last_$1 gauge"
  echo "ops_backup_last_$1{{app=\"{name}\"}} $2"
}}
# nothing that a program printed is sent: it may hold anything
report() {{
  {{
    cat {order}
    printf 'error: %s\nnext: %s\nlog: %s\nhost: %s\n' "$error" {then} {log} "$(uname -n)"
  }} | timeout 300 {notifying}
}}
# what timeout ended: its container goes too, or the next night would find it
clear_overdue() {{
  case $1 in 124 | 137) timeout 60 docker rm --force "$2" >/dev/null 2>&1 || true ;; esac
}}
trap finish EXIT
trap 'error="it was ended by a signal"; exit 143' TERM
trap 'error="it was ended by a signal"; exit 130' INT
trap 'error="it was ended by a signal"; exit 129' HUP
mkdir -p metrics
chmod 755 metrics
rm -f backup.log
release=$(sed -n 's/.*"release": *"\([^"]*\)".*"outcome": *"in service".*/\1/p' {ledger} | tail -n 1)
[ -n "$release" ] || {{ echo "no release is in service" >&2; exit 2; }}
exec 9<>{lock} 8<>{changing}
flock --nonblock 9 && flock --nonblock --shared 8 || {{
  error="another backup, or a migration, has the lock"
  echo "$error" >&2
  exit 4
}}
since=$(date --utc +%FT%TZ)
holder="{{\"who\":\"{name}\",\"pid\":$$,\"command\":\"the nightly backup\",\"since\":\"$since\"}}"
printf '%-500s\n' "$$ $holder" \
  | dd of={lock} conv=notrunc status=none
# a sign of life for those who look, and the dump's own hold on the lock, also once this script was killed
while sleep 5 && kill -0 $$ 2>/dev/null; do touch {lock}; done 8<&- 9<&- &
alive=$!


timeout 60 docker rm {container} >/dev/null 2>&1 || true # what a crash of the engine left; one that runs stays
error="the database was not dumped, or the dump not saved"
# in the background, so that a signal is heard meanwhile
timeout --kill-after=60 "$within" {command} >backup.printed 2>>backup.log 9<&- &
running=$!
wait "$running" || {{
  result=$?
  clear_overdue "$result" {container}
  if [ "$result" = 124 ]; then error="the dump did not end within $within s"; fi
  exit "$result"
}}
running=""
manifest=$(head -n 1 backup.printed)
point=$(sed -n 's/.*"snapshot_id": *"\([0-9a-f]\{{{short}\}}\).*/\1/p' backup.printed)
[ -n "$point" ] || {{ echo "restic named no snapshot" >&2; exit 1; }}
# what it is compared with: the last one that nobody called suspect, or that was restored since
before=$(awk '
  match($0, /"point": *"[0-9a-f]+/) {{ id = substr($0, RSTART, RLENGTH); sub(/.*"/, "", id) }}
  /"detail": *"suspect"/ {{ suspect[id] = 1 }}
  /"state": *"restored"/ {{ restored[id] = 1 }}
  /"manifest": *\{{/ {{ ids[++n] = id; lines[n] = $0 }}
  END {{ for (i = n; i; i--) if (!suspect[ids[i]] || restored[ids[i]]) {{ print lines[i]; exit }} }}
' {evidence} 2>/dev/null | sed -n 's/.*"manifest": *\({{.*}}\)[,}}].*/\1/p')
note() {{
  printf '{{"version":{version},"point":"%s","state":"taken","time":"%s",%s}}\n' \
    "$point" "$(date --utc +%FT%TZ)" "$1" >>{evidence}
}}
note "\"release\":\"$release\",\"manifest\":$manifest"
kill "$alive" 2>/dev/null || true
alive=""
exec 8<&- 9<&- # what follows holds up no migration

failed=
if grep -q 'BACKUP_OFFSITE: *"\{{0,1\}}s' "releases/$release/shared.yml"; then
  timeout 60 docker rm {copier} >/dev/null 2>&1 || true
  timeout --kill-after=60 "$within" {copying} >backup.printed 2>>backup.log &
  running=$!
  if wait "$running"; then
    date +%s >metrics/backup.offsite
    note "\"detail\":\"off-site as $(tail -n 1 backup.printed | cut -c 1-{short})\",\"place\":\"off-site\""
  else
    result=$?
    clear_overdue "$result" {copier}
    failed="recovery point $point is not off-site"
    if [ "$result" = 124 ]; then failed="$failed: the copy did not end within $within s"; fi
  fi
  running=""
fi
if [ -n "$before" ]; then
  if ! losses=$(printf '%s\n%s\n' "$before" "$manifest" | timeout 600 {comparing} 2>>backup.log); then
    failed="${{failed:+$failed, and }}recovery point $point was not compared with the one before"
  elif [ -n "$losses" ]; then
    suspect=1
    note "\"detail\":\"suspect\""
    echo "$losses" >>backup.log
    losses=$(echo "$losses" | head -n 3 | paste -s -d ';' | sed 's/;/; /g')
    failed="${{failed:+$failed, and }}recovery point $point holds much less than the one before: $losses"
  fi
fi
error=$failed
[ -z "$failed" ] || exit 1
"""


def render(repository: Repository, folder: Path) -> str:
    """Write the script that takes a recovery point on its host. Pure."""
    variables = {repository.run.release.id: "release", POINT: "point"}
    lines = {name: script.line(command, variables) for name, command in commands(repository).items()}
    then = acting("inv backup.list, then inv backup", repository.run.settings.env)
    return TEMPLATE.format(
        folder=shlex.quote(str(folder)), lock=LOCKS["dump"].file, changing=LOCKS["dump"].changing,
        name=repository.host_name, ledger=LEDGER, container=repository.container, copier=repository.copier,
        short=SHORT, version=VERSION, evidence=EVIDENCE, order=ORDER, then=shlex.quote(then),
        log=shlex.quote(str(folder / "backup.log")), within=LONG, **lines,
    )  # fmt: skip


def commands(repository: Repository) -> dict[str, Command]:
    """Return what the script runs, by the names in its template. Pure."""
    judging = ("losses", str(LEAST_PART), str(FEW))
    notifier = next((service.name for service in repository.run.bundle.release.of("notify")), "")
    return {
        "command": repository.taking,
        "copying": repository.copying(POINT, POINT),
        "comparing": repository.in_container(repository.service.name, *judging),
        "notifying": repository.in_container(notifier) if notifier else command("false"),
    }


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
    timers.require(host)
    host.write(at.settings.state_dir / SCRIPT, render(repository, at.settings.state_dir), mode=0o700)
    notified = script.write_order(repository.run, ORDER, "the nightly backup FAILED")
    when = timers.install(host, timer(at))
    return f"{host.name} takes a recovery point every day, {when}; {notified}; inv backup.list shows them"


def remove(at: Environment) -> str:
    """Take the schedule away from whatever host has it; say so."""
    having = [host.name for host in at.hosts if remove_from(at, host)]
    return f"{', '.join(having)} takes no recovery points by itself any more" if having else "there is no schedule"


def remove_from(at: Environment, host: Host) -> bool:
    """Take the schedule away from a host; tell whether there was one."""
    if host.read(at.settings.state_dir / SCRIPT) is None:
        return False
    timers.remove(host, timer(at))
    for name in (SCRIPT, ORDER):
        host.remove(at.settings.state_dir / name)
    return True
