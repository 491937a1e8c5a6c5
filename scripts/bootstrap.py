"""Prepare this machine: Docker Engine, what builds need, the Python environment. Standard library only.

Usage: python3 scripts/bootstrap.py [--tests]

--tests adds what the tests need: an sshd that they start on loopback, and what their hosts' images are made with.
Looks first, says what it is about to change, changes only what is missing. A usable Docker is left alone.
Supported: Debian 12 and 13, Ubuntu 22.04 and later. Elsewhere it names what to install.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements" / "dev.txt"
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")
DAEMON_JSON = Path("/etc/docker/daemon.json")
SOCKET = Path("/var/run/docker.sock")
DAEMON_PID = Path("/var/run/docker.pid")
SYSTEMD = Path("/run/systemd/system")
SSHD = Path("/usr/sbin/sshd")
DAEMON_LOG = Path("/var/log/dockerd.log")
ENGINE_PACKAGES = {
    "debian": ["docker.io", "docker-cli", "docker-buildx", "docker-compose"],
    "ubuntu": ["docker.io", "docker-buildx", "docker-compose-v2"],
}
# Debian 12's own Docker is 20.10 without buildx; 13's runs on 12.
NEWER_SUITE = "trixie"
# libc6 and base-files come with it, and by the latter Debian 12 would take the updates of 13 alone
UPDATES = f"""// of its own accord it would take those of {NEWER_SUITE} alone; the engine is left alone
Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=bookworm,label=Debian";
Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=bookworm-security,label=Debian-Security";
Unattended-Upgrade::Package-Blacklist {{ "^docker"; "^containerd$"; "^runc$"; }};
"""
UPDATES_FILE = Path("/etc/apt/apt.conf.d/52bookreader-ops")
NEWER_SOURCES = Path("/etc/apt/sources.list.d/bookreader-ops.sources")
BASE_PACKAGES = ["mmdebstrap", "uidmap", "debian-archive-keyring"]
LOCK_SECONDS = 300  # unattended-upgrades is at work for minutes on a new cloud machine
PROBE_IMAGE = "busybox:1.37-musl"


def main() -> None:
    """Bring this machine to where `inv` works."""
    if sys.version_info < (3, 11):
        stop(
            f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}", "install python3.11 and run this again"
        )
    require_access()
    packages = missing_system_packages()
    if packages:
        install(packages)
    have_updates()
    if not engine_answers():
        start_engine()
    if not shutil.which("mmdebstrap") and ("--tests" in sys.argv or not tags_reachable()):
        say("building images of Debian packages: the hosts of tests, and bases where no registry answers")
        install(BASE_PACKAGES)
    sync_environment()


def say(text: str) -> None:
    """Tell the person what happens next."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


def stop(what: str, then: str) -> None:
    """End with the cause and the next command."""
    say(f"{what}\n  next: {then}")
    raise SystemExit(2)


def succeeds(*argv: str, timeout: int = 20) -> bool:
    """Tell whether a command exists, exits with 0 and does so in time."""
    try:
        return subprocess.run(argv, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def engine_answers() -> bool:
    """Tell whether a Docker engine answers this user."""
    return succeeds("docker", "info")


def closed() -> bool:
    """Tell whether this machine's engine has a socket that is not for this account."""
    return SOCKET.exists() and not os.access(SOCKET, os.R_OK | os.W_OK)


def require_access() -> None:
    """End where an engine is here, and not for this account."""
    if closed() and not engine_answers():
        stop(
            "this account may not use the Docker engine",
            "sudo usermod -aG docker $USER, log in again, then run this again",
        )


def tags_reachable() -> bool:
    """Ask the engine's own client whether a public tag can be resolved."""
    return succeeds("docker", "buildx", "imagetools", "inspect", PROBE_IMAGE)


def missing_system_packages() -> list[str]:
    """List the packages without which neither the engine nor the environment can be had."""
    wanted = []
    if not engine_answers() and not shutil.which("dockerd"):
        wanted += ENGINE_PACKAGES.get(distribution(), [])
        if not wanted:
            stop(
                "this system is not Debian or Ubuntu",
                "install Docker Engine with buildx and compose, then run this again",
            )
    elif not (succeeds("docker", "buildx", "version") and succeeds("docker", "compose", "version")):
        stop(
            "Docker is here, but not its buildx and compose plugins",
            "install docker-buildx and docker-compose (2.20 or newer) from where your Docker came from",
        )
    if "--tests" in sys.argv and not SSHD.exists():
        wanted.append("openssh-server")
    if not (VENV / "bin/python").exists() and not importlib.util.find_spec("ensurepip"):
        wanted.append("python3-venv")
    return wanted


def os_release() -> dict[str, str]:
    """Read /etc/os-release."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {key: value.strip('"') for key, _, value in (line.partition("=") for line in lines)}


def distribution() -> str:
    """Name the family whose packages this system takes."""
    known = os_release()
    family = f"{known.get('ID', '')} {known.get('ID_LIKE', '')}".split()
    return next((name for name in ("ubuntu", "debian") if name in family), "")


def install(packages: list[str]) -> None:
    """Install Debian packages, saying so first."""
    say("installing " + " ".join(packages))
    if not shutil.which("apt-get"):
        stop("apt-get is not here", f"install {' '.join(packages)} by hand, then run this again")
    apt_get("update")
    if "docker.io" in packages and os_release().get("VERSION_CODENAME") == "bookworm":
        add_newer_suite()
        apt_get("update")
    pinned = [
        f"{name}/{NEWER_SUITE}" if name.startswith("docker") and newer_suite_added() else name for name in packages
    ]
    apt_get("install", "-y", "--no-install-recommends", *pinned, *extras(packages))
    if "docker.io" in packages and not DAEMON_JSON.exists():
        # this store keeps manifest digests, exports caches and builds reproducible images; and containers outlive the
        # engine: it starts those again that died with the machine, not those that it found alive after its own death
        write_as_root(
            DAEMON_JSON, json.dumps({"features": {"containerd-snapshotter": True}, "live-restore": True}) + "\n"
        )


def apt_get(*words: str) -> None:
    """Run apt-get as root; wait for its locks, which a new cloud machine holds for minutes.

    It waits for that of dpkg by itself, and not for that of the package lists.
    """
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    argv = ("apt-get", "-qq", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}", *words)
    deadline = time.monotonic() + LOCK_SECONDS
    done = run_as_root(*argv, env=environment)
    if is_locked(done):
        say(f"another program holds apt's lock; waiting for it, {LOCK_SECONDS} s at most")
    while is_locked(done) and time.monotonic() < deadline:
        time.sleep(2)
        done = run_as_root(*argv, env=environment)
    require_done(done)


def is_locked(done: subprocess.CompletedProcess[str]) -> bool:
    """Tell whether apt-get failed because another program is at work."""
    return done.returncode != 0 and "Could not get lock" in done.stderr


def extras(packages: list[str]) -> list[str]:
    """Name what docker.io only recommends and yet needs on a bare machine."""
    return ["iptables", "ca-certificates"] if "docker.io" in packages else []


def newer_suite_added() -> bool:
    """Tell whether the newer suite was added by this script."""
    return NEWER_SOURCES.exists()


def have_updates() -> None:
    """Have Debian 12's own updates installed too, where an earlier version of this script did not."""
    may = os.geteuid() == 0 or succeeds("sudo", "-n", "true")
    if newer_suite_added() and not UPDATES_FILE.exists() and may:
        say("having the security updates of Debian 12 install themselves, besides those of 13")
        write_as_root(UPDATES_FILE, UPDATES)


def add_newer_suite() -> None:
    """Add Debian 13 at priority 100, from the mirror that this machine already uses."""
    say(f"adding Debian's {NEWER_SUITE} at priority 100 (only the Docker packages are taken from it)")
    write_as_root(
        Path("/etc/apt/preferences.d/bookreader-ops"),
        f"Package: *\nPin: release n={NEWER_SUITE}\nPin-Priority: 100\n",
    )
    write_as_root(
        NEWER_SOURCES,
        f"Types: deb\nURIs: {own_mirror()}\nSuites: {NEWER_SUITE}\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n",
    )
    write_as_root(UPDATES_FILE, UPDATES)


def own_mirror() -> str:
    """Find the address this machine's apt takes Debian's main archive from."""
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in listed.splitlines():
        codename, _, address = line.partition(" ")
        if codename == "bookworm":
            return address
    stop("apt has no source for Debian bookworm", "fix /etc/apt/sources.list")
    raise AssertionError


def as_root(*argv: str) -> None:
    """Run a command as root, through sudo where needed; end with its output when it fails."""
    require_done(run_as_root(*argv))


def run_as_root(*argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command as root, through sudo where needed."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-E"]
    return subprocess.run([*sudo, *argv], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def require_done(done: subprocess.CompletedProcess[str]) -> None:
    """End with a command's output when it failed."""
    if done.returncode:
        stop(
            f"`{' '.join(done.args)}` failed:\n{(done.stderr or done.stdout).strip()[-2000:]}",
            "fix that, then run this again",
        )


def write_as_root(path: Path, text: str) -> None:
    """Write a system file in one step."""
    with tempfile.NamedTemporaryFile("w") as part:
        part.write(text)
        part.flush()
        as_root("install", "-D", "-m", "644", part.name, str(path))


def start_engine() -> None:
    """Start the installed engine, under systemd or by hand."""
    log = f"tail {DAEMON_LOG}"
    if SYSTEMD.is_dir():
        say("starting docker with systemctl")
        as_root("systemctl", "start", "docker")
        log = "journalctl -u docker"
    elif os.geteuid() == 0:
        start_by_hand()
    else:
        stop(
            "the Docker engine does not answer this user",
            "start it (no systemd here: `sudo dockerd &`) and be in the docker group (`sudo usermod -aG docker $USER`)",
        )
    wait(lambda: engine_answers() or closed(), 60, "the Docker engine did not answer within 60 s", log)
    require_access()


def start_by_hand() -> None:
    """Start dockerd detached from this terminal."""
    say(f"starting dockerd (no systemd here), log in {DAEMON_LOG}")
    if DAEMON_PID.exists() and not is_dockerd(DAEMON_PID.read_text().strip()):
        DAEMON_PID.unlink()  # left by a killed engine: dockerd refuses to start when another process has that id
    log = DAEMON_LOG.open("ab")
    subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def is_dockerd(pid: str) -> bool:
    """Tell whether a process id belongs to a running dockerd."""
    command = Path(f"/proc/{pid}/comm")
    return pid.isdigit() and command.exists() and command.read_text().strip() == "dockerd"


def wait(ready: Callable[[], bool], seconds: int, otherwise: str, then: str) -> None:
    """Poll until something is ready, or end with the reason and what tells more."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            stop(otherwise, then)
        time.sleep(0.2)


def sync_environment() -> None:
    """Bring .venv to exactly what the hashed lock says; a matching one is left alone."""
    wanted = sha256(LOCK.read_bytes()).hexdigest()
    stamp = VENV / "lock.sha256"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    say(f"installing the Python environment into {VENV.name} from {LOCK.relative_to(ROOT)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    pip = [str(VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    trust = {"PIP_CERT": str(SYSTEM_CA)} if SYSTEM_CA.exists() else {}  # pip's own bundle knows no company's proxy
    locked = ["--require-hashes", "--requirement", str(LOCK)]
    done = subprocess.run([*pip, *locked], stdin=subprocess.DEVNULL, env={**trust, **os.environ})
    if done.returncode:
        stop("pip could not install the locked packages", "see pip's message above; behind a proxy set PIP_CERT")
    stamp.write_text(wanted)


if __name__ == "__main__":
    main()
