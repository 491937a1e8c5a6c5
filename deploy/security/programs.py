"""The scanners: where each is, and how it is run so that nothing of a shell hides what it finds."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from deploy.config.settings import Settings
from deploy.core.errors import CommandFailed, Reasons, Refused
from deploy.core.shell import Result, query
from deploy.hosts.local import LocalHost
from deploy.security import linters

PROGRAMS = ("trivy", "gitleaks", *(linter.program for linter in linters.LINTERS))
# variables of these could hide findings, as TRIVY_SEVERITY and GITLEAKS_CONFIG do; but for those of a registry
HIDING = ("TRIVY_", "GITLEAKS_", "HADOLINT_", "SHELLCHECK_OPTS", "ZIZMOR_")
ACCOUNT = ("TRIVY_USERNAME", "TRIVY_PASSWORD", "TRIVY_REGISTRY_TOKEN", "TRIVY_INSECURE")


def program(name: str, settings: Settings) -> str:
    """Return the path of a scanner: that of scan.programs, else the one of this environment, else of the PATH."""
    own = Path(sys.executable).parent / name
    path = settings.scan.programs.get(name) or (str(own) if own.exists() else shutil.which(name))
    if not path or not shutil.which(path):
        what = f"{name} is not installed" + (f" at {path}" if path else "")
        raise Refused(what, then="python3 scripts/bootstrap.py, or scan.programs", slug="scanner-missing")
    return path


def require_programs(settings: Settings) -> None:
    """Refuse a machine that lacks scanners, naming all of them."""
    missing = Reasons()
    for name in PROGRAMS:
        with missing:
            program(name, settings)
    missing.refuse()


def run(
    words: Sequence[str], settings: Settings, here: LocalHost, codes: Sequence[int] = (0,), **variables: str
) -> Result:
    """Run a scanner in the checkout; raise CommandFailed for a crash, a hang, or no end within scan.within."""
    kept = {*ACCOUNT, *variables}
    others = (f"--unset={name}" for name in os.environ if name.startswith(HIDING) and name not in kept)
    script = ("env", *others, "sh", "-c", 'cd "$0" && exec "$@"', str(settings.root))
    act = replace(query(*script, *words), environment={"NO_COLOR": "1", **variables})
    name = Path(words[0]).name
    try:
        done = here.try_run(act, timeout=settings.scan.within)
    except CommandFailed as error:  # by the whole line
        raise CommandFailed(name, error.returncode, error.output, here.name) from None
    if done.returncode not in codes:
        raise CommandFailed(name, done.returncode, done.output, here.name)
    return done


@contextmanager
def git_that_says_how_it_ended(folder: Path) -> Iterator[str]:
    """Yield a PATH whose git prints its exit code unless that is 0; gitleaks does not ask for it.

    Of a git that died after half of the log it would take that half for all there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="git-") as place:
        script = Path(place, "git")
        real = shlex.quote(shutil.which("git") or "git")
        ending = 'code=$?; echo "git ended with $code" >&2; exit "$code"'
        script.write_text(f'#!/bin/sh\n{real} "$@" || {{ {ending}; }}\n')
        script.chmod(0o755)
        yield f"{place}:{os.environ.get('PATH', os.defpath)}"


def last_line(text: str) -> str:
    """Return the last line of what a program printed, without its time and level."""
    line = (text.strip().splitlines() or [""])[-1].split("\t")[-1]
    return line if len(line) < 300 else f"...{line[-300:]}"
