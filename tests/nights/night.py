"""One night: a site in service, a fault, and what must be so afterwards."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.core.poll import wait_until
from tests import load
from tests.integration.bad_input.bad import parts
from tests.support.site import ROOT, Done, Site, docker, make_tiny

APP, COMPOSE, BAKE = "app/app.py", "docker/compose.yml", "docker/bake.hcl"
READERS = load.Scenario(kinds=("get", "new"), paths=("/", "/version"), rate=100, new_rate=20, minimums={"get": 200})
PATIENCE = 120
UNHURRIED = {
    "OPS_ROLLOUT__SERVED_WITHIN": "20",
    "OPS_ROLLOUT__HEALTHY_WITHIN": "40",
}  # the tiny app's own 4 s are for a quiet machine
SHOWN = re.compile(r"( ok|  x|!|     \w)")  # lines of steps, before the error itself


class NightSite(Site):
    """A site whose images have names of their own, so that nights and tests of other checkouts do not mix."""

    def argv(self, module: str, *words: str, **more: str) -> list[str]:
        """Return the words that run a module of this checkout on this site."""
        return ["env", *(f"{name}={value}" for name, value in more.items()), sys.executable, "-m", module, *words]

    def docker(self, *words: str) -> str:
        """Run docker where this site is."""
        return docker(*words)


class Operator:
    """Somebody's `inv` in the background."""

    def __init__(self, site: NightSite, folder: Path, *argv: str) -> None:
        self.argv, self.out, self.err = (
            argv,
            folder / f"out-{time.monotonic_ns()}",
            folder / f"err-{time.monotonic_ns()}",
        )
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=site.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def end(self, code: int | None = 0, *, within: float = PATIENCE) -> Done:
        """Wait for the end; fail the test unless it comes in time and with this code."""
        found = self.process.wait(within)
        output = Done(found, self.out.read_text(), self.err.read_text())
        assert code is None or found == code, f"{self.argv[-3:]} ended with {found}\n{output.stdout}\n{output.stderr}"
        return output

    def kill(self) -> None:
        """End it and all that it started, as a machine does that loses power.

        One that was waited for has lost its number.
        """
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@dataclass
class Night:
    """A site in service and what happened to it."""

    site: NightSite
    first: str = ""
    story: list[str] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def tell(self, what: str) -> None:
        """Add to what the report says of this night."""
        self.story.append(what)

    def falls(self) -> str:
        """Put a first release into service."""
        self.first = self.site.inv("deploy", "--json").document["release"]
        return self.first

    def change(self, text: str = "# changed\n") -> None:
        """Make the next release another one."""
        self.site.write(APP, (self.site.root / APP).read_text() + text)
        self.site.commit()

    def serves(self) -> str:
        """Ask the site which release answers; empty when none does."""
        status, body = self.site.get("/version")
        return str(json.loads(body)["release"]) if status == 200 else ""

    def serves_within(self, seconds: float) -> str:
        """Wait until some release answers and go on without a command; tell how long it took."""
        began = time.monotonic()
        assert wait_until(lambda: bool(self.serves()), seconds), (
            f"nothing serves after {seconds:.0f} s: {self.site.containers()}"
        )
        self.tell(f"{self.called(self.serves())} answers after {time.monotonic() - began:.1f} s, nobody typed")
        return self.serves()

    def called(self, release: str) -> str:
        """Name a release as the report does."""
        return "the old release" if release == self.first else "the new release"

    def start(self, *words: str, at: tuple[str, str] | None = None, **more: str) -> Operator:
        """Begin `inv` in the background, with a fault at one moment of it."""
        run = ("tests.nights.at", *at, *words) if at else ("invoke", *words)
        self.operators.append(Operator(self.site, self.site.folder, *self.site.argv(*run, **more)))
        return self.operators[-1]

    def struck(self, moment: str, line: str, *words: str, code: int | None, **more: str) -> str:
        """Run `inv` with a fault at one moment; return what the person read."""
        output = self.start(*words, at=(moment, line), **more).end(code, within=300)
        self.tell(f"exit {output.code}")
        return output.stderr

    @contextmanager
    def held(self, moment: str, *words: str, **more: str) -> Iterator[Operator]:
        """Begin `inv` and hold it at one moment while the block runs."""
        reached, go = self.site.folder / "reached", self.site.folder / "go"
        line = f"touch {shlex.quote(str(reached))}; until [ -e {shlex.quote(str(go))} ]; do sleep 0.05; done"
        operator = self.start(*words, at=(moment, line), **more)
        assert wait_until(reached.exists, PATIENCE), operator.err.read_text()
        try:
            yield operator
        finally:
            go.touch()

    def fails(self, *words: str, code: int, **more: str) -> str:
        """Run `inv`, which must end with this code; return what the person read."""
        output = self.site.inv(*words, code=code, **more).stderr
        self.tell(f"exit {code}")
        return output

    def says(self, message: str, *cause: str, where: str, then: str, serves: str | None = None) -> None:
        """Compare a message with what a person must learn from it: cause, place, what serves, the next command."""
        why, place, kept, following = parts(message)
        for words in cause:
            assert words in why, f"{words!r} is not in the cause:\n{message}"
        for found, wanted in (
            (place, where),
            (kept, f"release {self.first}" if serves is None else serves),
            (following, then),
        ):
            assert wanted in found, f"{wanted!r} is not in {found!r}:\n{message}"
        own = why.strip().splitlines()
        own = own[max((number + 1 for number, line in enumerate(own) if SHOWN.match(line)), default=0) :]
        self.tell(next((line for line in own if cause and cause[0] in line), own[0] if own else "").strip())

    def morning(self, *words: str) -> str:
        """The next plain command converges: one release serves, its plan is empty, nothing is stranded.

        Return what was said.
        """
        output = self.site.inv(*(words or ("deploy",))).stderr
        self.tell(f"then `inv {' '.join(words or ('deploy',))}` converges")
        plan = self.site.inv("plan", "--json").document
        assert plan["hosts"][0]["steps"] == [], plan
        assert self.serves() == plan["release"]
        self.unstranded()
        return output

    def unstranded(self) -> None:
        """Nobody holds the lock, nothing is half done, one colour runs, and the edge's two links agree."""
        assert "nobody holds a lock" in self.site.inv("unlock", "--yes").stderr
        assert "nothing to go on with" in self.site.inv("resume").stderr
        found = self.site.containers()
        alive = [name for name, state in found.items() if state not in ("exited", "created", "dead")]
        assert len([name for name in alive if "-edge-" in name]) == 1, found
        assert len(alive) == 2, f"more than the edge and one colour runs: {found}"

    def ends(self) -> None:
        """Leave no process behind."""
        for operator in self.operators:
            operator.kill()
        self.site.sweep()


def make_night(folder: Path) -> Night:
    """A tiny site that nothing was deployed to."""
    made = make_tiny(folder)
    site = NightSite(made.folder, made.app, made.extra | UNHURRIED)
    site.name_images()
    return Night(site)


def lost_nothing(clients: load.Clients, night: Night) -> load.Report:
    """Stop the clients; fail unless every request was answered."""
    report = clients.report()
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.table()}"
    night.tell(f"0 of {sum(kind.requests for kind in report.kinds.values())} requests lost")
    return report
