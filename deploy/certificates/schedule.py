"""Renewals that a host does by itself: a script there does what `inv tls.renew` does, and a timer runs it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

from deploy.certificates.serve import proving, testing
from deploy.certificates.store import Store
from deploy.config.settings import Settings
from deploy.core.errors import acting
from deploy.core.model import LABEL
from deploy.core.shell import command, query
from deploy.edge import switch
from deploy.hosts.host import Host
from deploy.site import script, timers
from deploy.state.ledger import LEDGER
from deploy.state.locks import LOCKS

SCRIPT, ORDER, METRICS = "renew.sh", "renew.notify", "certificates"
EVERY = 6  # hours; a certificate of six days has twelve tries in the half of its life that is left
AT, JITTER = "00:30", 180
VERSION, FORMER, EDGE = "@VERSION@", "@FORMER@", "@EDGE@"  # stand for what the script learns; no setting has them
WAIT_SECONDS = 1800  # for a deploy that goes on: a certificate that is due has days left
# the release is looked up when it runs: by then others have been deployed
TEMPLATE = r"""#!/bin/sh
# Renews the certificate where it is due, as inv tls.renew does. Written by inv tls.issue: changes are lost with its
# next run.
set -eu
cd {folder}
umask 077
running="" error="it did not begin" release="" edge="" version="" former="" begins="" expires="" notified=""
# people are notified first, and nothing that fails in here ends it: the disk may be full
finish() {{
  result=$?
  set +e
  trap '' TERM INT HUP
  if [ -n "$running" ]; then kill "$running" 2>/dev/null; fi
  if [ "$result" != 0 ] && [ -s {order} ]; then
    if printed=$(report 2>&1); then notified=1; else notified=0; fi
    echo "$printed" >>renew.log
  fi
  [ -n "$begins" ] || begins=$(before not_before)
  [ -n "$expires" ] || expires=$(before not_after)
  {{
    if [ -n "$notified" ]; then metric renewal_notified "$notified"; fi
    if [ -n "$begins" ]; then metric not_before_timestamp_seconds "$begins"; fi
    if [ -n "$expires" ]; then metric not_after_timestamp_seconds "$expires"; fi
    metric renewal_exit_code "$result"
    metric renewal_attempt_timestamp_seconds "$(date +%s)"
  }} >metrics/{metrics}.part && chmod 644 metrics/{metrics}.part && mv metrics/{metrics}.part metrics/{metrics}.prom
  rm -f renew.printed
  if [ -s renew.log ]; then cat renew.log >&2; fi
}}
metric() {{
  echo "# TYPE ops_certificate_$1 gauge"
  echo "ops_certificate_$1{{app=\"{name}\"}} $2"
}}
before() {{ sed -n "s/^ops_certificate_$1_.* //p" metrics/{metrics}.prom 2>/dev/null; }}
# nothing that a program printed is sent: it may hold anything
report() {{
  {{
    cat {order}
    printf 'error: %s\nnext: %s\nlog: %s\nhost: %s\n' "$error" {then} {log} "$(uname -n)"
  }} | timeout 300 {notifying}
}}
trap finish EXIT
trap 'error="it was ended by a signal"; exit 143' TERM
trap 'error="it was ended by a signal"; exit 130' INT
trap 'error="it was ended by a signal"; exit 129' HUP
# in the background, so that a signal is heard meanwhile; a document is the last line of what it printed
run() {{
  timeout --kill-after=60 "$@" >renew.printed 2>>renew.log 8<&- 9<&- &
  running=$!
  wait "$running" || {{
    result=$?
    running=""
    cat renew.printed >>renew.log
    case $result in 124 | 137) timeout 60 docker rm --force {container} >/dev/null 2>&1 || true ;; esac
    return "$result"
  }}
  running=""
}}
field() {{ tail -n 1 renew.printed | sed -n "s/.*\"$1\": *\"\{{0,1\}}\([^\",}}]*\).*/\1/p"; }}
mkdir -p metrics
chmod 755 metrics
rm -f renew.log
# after a rollback to a release from before HTTPS the newest that has the service
for release in $(sed -n 's/.*"release": *"\([^"]*\)".*"outcome": *"in service".*/\1/p' {ledger} | tac); do
  if grep -q '{role}: "\{{0,1\}}certificates' "releases/$release/shared.yml" 2>/dev/null; then break; fi
  release=""
done
[ -n "$release" ] || {{ error="no release that was in service has certificates"; exit 2; }}
edge=$(docker ps --filter "label={label}" --filter label={role}=edge --format '{{{{.Names}}}}' | head -n 1)
[ -n "$edge" ] || {{ error="the edge does not run"; exit 1; }}
# somebody else is at it, inv tls.issue: what came of that is looked at afterwards, and what hangs is removed
if [ -n "$(docker ps --quiet --filter 'name=^{container}$')" ]; then
  run {within} docker wait {container} || true
  rm -f renew.log
fi
timeout 60 docker rm {container} >/dev/null 2>&1 || true # what a crash of the engine left

error={nothing}
run {within} {renewing}
version=$(field version) former=$(field served) begins=$(field not_before) expires=$(field not_after)
[ -n "$version" ] || exit 1
error="the edge does not answer"
if run 60 {showing}; then exit 0; fi
rm -f renew.log

# the edge is changed while nobody else changes it; what was obtained and cannot be served now is by a later run
error="a deploy, or another command, had the lock for {wait} s"
exec 9<>{lock} 8<>{changing}
flock --wait {wait} 9 && flock --wait {wait} --shared 8 || exit 4
since=$(date --utc +%FT%TZ)
holder="{{\"who\":\"{name}\",\"pid\":$$,\"command\":\"the renewal of the certificate\",\"since\":\"$since\"}}"
printf '%-500s\n' "$$ $holder" | dd of={lock} conv=notrunc status=none
error="the new certificate could not be served; the one before is"
go_back() {{
  [ -n "$former" ] && run 60 {reverting} && {reloading}
  exit 1
}}
run 60 {selecting}
{{ {testing} 2>>renew.log && {reloading}; }} || go_back
run 60 {proving} || go_back
"""


def render(store: Store, folder: Path) -> str:
    """Write the script that renews on its host. Pure."""
    settings = store.run.settings
    notifier = next((service.name for service in store.run.bundle.release.of("notify")), "")
    notifying = store.run.compose("", "run", "--rm", "-T", "--no-deps", notifier) if notifier else command("false")
    commands = {
        "renewing": store.command(*store.renewing()),
        "selecting": store.command("select", VERSION),
        "reverting": store.command("select", FORMER),
        "showing": store.shaking(f"--until={VERSION}"),
        "testing": testing(EDGE),
        "reloading": switch.reload(EDGE),
        "proving": proving(store, VERSION),
        "notifying": notifying,
    }
    variables = {store.run.release.id: "release", VERSION: "version", FORMER: "former", EDGE: "edge"}
    lines = {name: script.line(own, variables) for name, own in commands.items()}
    giver = f"the edge of {settings.issuer} gave" if store.follows else "the server issued"
    then = acting("inv tls.check, then inv tls.renew", settings.env)
    return TEMPLATE.format(
        folder=shlex.quote(str(folder)), lock=LOCKS["change"].file, changing=LOCKS["change"].changing,
        name=settings.name, ledger=LEDGER, container=store.container, order=ORDER, metrics=METRICS,
        then=shlex.quote(then), log=shlex.quote(str(folder / "renew.log")), within=store.within, wait=WAIT_SECONDS,
        nothing=shlex.quote(f"{giver} no certificate"), label=f"{LABEL}={settings.name}", role=f"{LABEL}.role", **lines,
    )  # fmt: skip


def timer(settings: Settings) -> timers.Timer:
    """Describe the timer of an environment's renewals."""
    line = shlex.join(["/bin/sh", str(settings.state_dir / SCRIPT)])
    name, what = f"{settings.name}-certificates", f"renewal of the certificate of {settings.name}"
    return timers.Timer(name, what, line, AT, JITTER, "inv tls.issue", EVERY)


def install(store: Store) -> str:
    """Have a host renew by itself; say when. Raises Refused where we are not root there, or nothing fires timers."""
    run, settings = store.run, store.run.settings
    timers.require(run.host)
    path, text = settings.state_dir / SCRIPT, render(store, settings.state_dir)
    if run.host.read(path) != text:  # its time tells since when the timer should have fired
        run.host.write(path, text, mode=0o700)
    notified = script.write_order(run, ORDER, "the renewal of the certificate FAILED")
    when = timers.install(run.host, timer(settings))
    return f"{run.host.name} renews it by itself where it is due: {when}; {notified}"


def is_installed(store: Store) -> bool:
    """Tell whether a host has the timer, and the script that it runs."""
    settings, host = store.run.settings, store.run.host
    paths = [path for systemd in (True, False) for path in timers.files(timer(settings), systemd=systemd)]
    return host.read(settings.state_dir / SCRIPT) is not None and any(host.read(path) is not None for path in paths)


def installed_at(store: Store) -> datetime:
    """Tell since when the host has the script that it runs."""
    path = store.run.settings.state_dir / SCRIPT
    return datetime.fromtimestamp(int(store.run.host.run(query("stat", "--format=%Y", str(path)))), UTC)


def remove_from(settings: Settings, host: Host) -> bool:
    """Take the timer away from a host; tell whether there was one."""
    if host.read(settings.state_dir / SCRIPT) is None:
        return False
    timers.remove(host, timer(settings))
    for name in (SCRIPT, ORDER, f"metrics/{METRICS}.prom"):
        host.remove(settings.state_dir / name)
    return True
