"""A site on servers over SSH, and what may happen to those."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.core.poll import wait_until
from tests import load
from tests.machines import Machine
from tests.nights.night import COMPOSE, PATIENCE, UNHURRIED, Night, NightSite
from tests.support import remote
from tests.support.site import Done, docker, make_tiny

NAMED = f"--env={remote.ENV}"
# another release without another build: its number is a setting
NUMBERED = ('environment: {BEHAVIOUR: "', 'environment: {NUMBER: "${NUMBER:-0}", BEHAVIOUR: "')
CLEAN = """
of=label=bookreader-ops.app=$1
docker ps --all --quiet --filter $of | xargs --no-run-if-empty docker rm --force --volumes
docker volume ls --quiet --filter $of | xargs --no-run-if-empty docker volume rm --force
docker network ls --quiet --filter $of | xargs --no-run-if-empty docker network rm
for project in "$1-$2" "$1-$2-blue" "$1-$2-green"; do for kind in volume network; do
  docker $kind ls --quiet --filter "label=com.docker.compose.project=$project" | xargs --no-run-if-empty docker $kind rm
done; done
umount "/var/lib/$1-$2"; rm -rf "/var/lib/$1-$2" "/home/"*"/$1-$2"; rm -f /usr/local/bin/date /usr/local/bin/docker; true
"""


class ServerSite(NightSite):
    """A site whose commands act on servers."""

    machines: Mapping[str, Machine]

    def argv(self, module: str, *words: str, **more: str) -> list[str]:
        """Return the words that run a module of this checkout on this site."""
        return super().argv(module, *words, NAMED, **more)

    def inv(self, *words: str, code: int | None = 0, **more: str) -> Done:
        """Run `inv` on the servers."""
        return super().inv(*words, NAMED, code=code, **more)

    @property
    def state_there(self) -> str:
        """The state folder on each server."""
        return self.extra.get("OPS_STATE", f"/var/lib/{self.app}-{remote.ENV}")

    def get(self, path: str, port: int | None = None, address: str = "") -> tuple[int, str]:
        """Ask a server, the first unless told."""
        return super().get(path, port, address or next(iter(self.machines.values())).address)

    def on(self, machine: Machine) -> dict[str, str]:
        """This site's containers on one server."""
        listed = machine.sh(
            'docker ps --all --filter "label=bookreader-ops.app=$1" --format "{{.Names}} {{.State}}"', self.app
        )
        return dict(line.split() for line in listed.splitlines())

    def sweep(self) -> None:
        """Remove what is of this site on each server, and here."""
        for machine in self.machines.values():
            machine.sh(CLEAN, self.app, remote.ENV)
        super().sweep()


@dataclass
class ServersNight(Night):
    """A site in service on servers."""

    site: ServerSite
    machines: Mapping[str, Machine] = field(default_factory=dict)
    number: int = 0

    def falls(self) -> str:
        """Put a first release into service."""
        self.site.inv("build", "--push")
        return super().falls()

    def change(self, text: str = "") -> None:
        """Make the next release another one."""
        self.number += 1
        self.site.extra["OPS_VARIABLES__NUMBER"] = str(self.number)

    def served(self, *names: str) -> dict[str, str]:
        """Which release each server, or each of some, answers with."""
        return remote.served(self.site, {name: self.machines[name] for name in names or self.machines})

    def serves(self) -> str:
        """Ask every server which release answers; each one's where they differ."""
        return ", ".join(sorted(set(self.served().values())))

    def still_serve(self, *names: str) -> None:
        """Fail unless these servers, all unless told, answer with the first release."""
        assert set(self.served(*names).values()) == {self.first}, self.served(*names)

    def morning(self, *words: str) -> str:
        """The next plain command converges: one release serves everywhere, the plan is empty, nothing is stranded."""
        output = self.site.inv(*(words or ("deploy",))).stderr
        self.tell(f"then `inv {' '.join(words or ('deploy',))}` converges")
        self.converged()
        return output

    def converged(self) -> None:
        """Fail unless one release serves everywhere, the plan is empty, and nothing is stranded."""
        found = self.site.inv("plan", "--json").document
        assert not any(plan["steps"] for plan in found["hosts"]), found
        assert self.serves() == found["release"]
        self.unstranded()

    def unstranded(self) -> None:
        """Nobody holds a lock, nothing is half done, and on each server one colour runs behind one edge."""
        assert "nobody holds a lock" in self.site.inv("unlock", "--yes").stderr
        assert "nothing to go on with" in self.site.inv("resume").stderr
        for machine in self.machines.values():
            found = self.site.on(machine)
            alive = [name for name, state in found.items() if state not in ("exited", "created", "dead")]
            assert len(alive) == 2, f"more than the edge and one colour runs on {machine.name}: {found}"
            assert sum("-edge-" in name for name in alive) == 1, found

    def all_answer(self, *names: str) -> None:
        """Wait until these servers, all unless told, answer without a command."""
        places = [self.machines[name] for name in names or self.machines]
        asked = lambda: all(self.site.get("/version", address=machine.address)[0] == 200 for machine in places)  # noqa: E731
        assert wait_until(asked, 30), [self.site.on(machine) for machine in places]

    def retried(self, *words: str) -> Done:
        """Run `inv`, again for as long as the lock's holder over there waits for a sign of life."""
        ended: list[Done] = []

        def tried() -> bool:
            ended.append(self.site.inv(*words, code=None))
            return ended[-1].code != 4

        assert wait_until(tried, PATIENCE)
        assert ended[-1].code == 0, ended[-1].stderr
        return ended[-1]


@contextmanager
def on_servers(folder: Path, machines: Mapping[str, Machine], key: Path, more: str = "") -> Iterator[ServersNight]:
    """A tiny site with these servers, that nothing was deployed to; all that befell them is mended afterwards."""
    made = make_tiny(folder)
    site = ServerSite(made.folder, made.app, made.extra | UNHURRIED)
    site.machines = machines
    site.name_images()
    site.replace(COMPOSE, *NUMBERED)
    remote.name_hosts(site, machines, key, f'{more}\n[variables]\nBEHAVIOUR = "well"')
    night = ServersNight(site, machines=machines)
    try:
        yield night
    finally:
        for machine in machines.values():
            mended(machine)
        night.ends()


def mended(machine: Machine) -> None:
    """Bring a server back to what it was before a night."""
    running = subprocess.run(
        ["docker", "inspect", "--format={{.State.Running}}", machine.container], capture_output=True, text=True
    )
    if running.stdout.strip() != "true":
        returned(machine)
    machine.heal()
    if machine.exec("docker", "version", code=None).code:
        machine.start_engine()


def returned(machine: Machine) -> None:
    """Bring a server back that lost its power."""
    docker("start", machine.container)
    machine.await_sshd()
    machine.start_engine()


def power_cut(machine: Machine) -> str:
    """Return the line that takes a server's power."""
    return shlex.join(["docker", "kill", machine.container])


def inside(machine: Machine, line: str, *words: str) -> str:
    """Return the line that runs a shell line on a server, without SSH, with `words` as $1 and on."""
    return shlex.join(["docker", "exec", machine.container, "sh", "-c", line, "sh", *words])


def all_lost_nothing(clients: Mapping[str, load.Clients], night: Night) -> None:
    """Stop the clients of every server; fail unless every request was answered."""
    total = 0
    for name, one in clients.items():
        report = one.report()
        assert report.verdict == load.PASS, f"{name}: {report.reasons}\n{report.table()}"
        total += sum(kind.requests for kind in report.kinds.values())
    night.tell(f"0 of {total} requests lost")
