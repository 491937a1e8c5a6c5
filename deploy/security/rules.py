"""Rules of ours for what no scanner here reads, each with its reason: compose files and nginx templates. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from posixpath import normpath
from typing import Any

from deploy.config.compose import Model
from deploy.security.findings import CHECKOUT, Finding

SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock")  # wherever they are
# of the host; who can write there, or read what only root may, has the host
FOLDERS = (
    "/", "/boot", "/dev", "/etc", "/proc", "/root", "/run", "/run/containerd", "/run/podman", "/sys",
    "/var/lib/containerd", "/var/lib/docker", "/var/run", "/var/run/containerd", "/var/run/podman",
)  # fmt: skip
# its disks and its memory
DEVICE = re.compile(r"/dev(/(mem|kmem|port|(sd|hd|vd|xvd|nvme|mmcblk|md|dm-|loop)\w*|(mapper|disk|block)(/.*)?))?")
WIDE = ("ALL", "BPF", "DAC_READ_SEARCH", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "SYS_RAWIO")
NAMESPACES = ("network_mode", "pid", "ipc", "userns_mode", "cgroup", "uts")
UNCONFINED = re.compile(r"((seccomp|apparmor|systempaths)[:=]unconfined|label[:=]disable)", re.IGNORECASE)
# jinja's comments and blocks; nginx's texts, which keep what looks like one, its comments, and words: in these stand
# what jinja fills in, and ${variables}
HIDDEN = re.compile(r"\{#.*?#\}|\{%.*?%\}", re.DOTALL)
WORD = r"(?:\{\{.*?\}\}|\$\{\w+\}|[^\s;{}])+"
TOKEN = re.compile(rf""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|#[^\n]*|{WORD}|[;{{}}]""", re.DOTALL)
# directive -> the file that gives back what it drops, and what that is
DROPPED = {
    "add_header": ("headers.conf", "the headers of every answer, Content-Security-Policy and HSTS among them"),
    "proxy_set_header": ("proxy.conf", "what says who the visitor is, so that the app believes what visitors write"),
}


@dataclass
class Block:
    """A block of nginx's configuration: its words, its line, and its own directives, as lists of words."""

    words: list[str] = field(default_factory=list)
    line: int = 1
    directives: list[list[str]] = field(default_factory=list)


def compose(model: Model, places: Mapping[str, tuple[str, int]]) -> Iterator[Finding]:
    """Judge services by what they ask of the host; `places` has the file and the line of each."""
    for service in model.services:
        path, line = places.get(service.name, ("", 0))
        for rule, title, then in host_access(service.spec, model.volumes, model.networks):
            yield finding(rule, title, path, line, then, service.name)


def host_access(
    spec: Mapping[str, Any], volumes: Mapping[str, Any], networks: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """Yield the rule, the reason and the way out for all by which a service that is broken into has the host."""
    hooks = (*(spec.get("post_start") or ()), *(spec.get("pre_stop") or ()))
    if spec.get("privileged") or any(hook.get("privileged") for hook in hooks):
        yield "compose-privileged", "privileged gives it the whole host", "name what it needs: cap_add, devices"
    for name in sorted({str(one).upper().removeprefix("CAP_") for one in spec.get("cap_add") or ()} & {*WIDE}):
        yield "compose-capability", f"the capability {name} gives it the host", "name a smaller one under cap_add"
    for option in filter(UNCONFINED.fullmatch, map(str, spec.get("security_opt") or ())):
        title = f"{option} takes away what keeps it from the host's kernel"
        yield "compose-unconfined", title, "remove it, or name a profile that allows what it needs"
    for key in NAMESPACES:
        if spec.get(key) == "host":
            yield "compose-namespace", f"{key}: host, so that it sees what is the host's own", f"remove {key}"
    for name in spec.get("networks") or ():
        if (networks.get(name) or {}).get("name") == "host":
            title = f"the network {name} is the host's own, so that it sees what is"
            yield "compose-namespace", title, f"a network of its own in place of {name}"
    for one in spec.get("devices") or ():
        if DEVICE.fullmatch(source := normal(one.get("source", ""))):
            yield (
                "compose-device",
                f"{source} is a disk or the memory of the host",
                "remove it, or name a smaller device",
            )
    for rule in spec.get("device_cgroup_rules") or ():
        if str(rule).strip()[:1] in ("a", "b"):
            yield "compose-device", f"`{rule}` lets it use the host's disks", "name the device under devices"
    for mount in spec.get("volumes") or ():
        yield from mounted(mount, volumes)


def mounted(mount: Mapping[str, Any], volumes: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Judge one mount by what it brings in of the host."""
    source = source_of(mount, volumes)
    if PurePosixPath(source).name in SOCKETS:
        yield "compose-socket", f"who has {source} is root on the host", "remove it, or put a proxy before it"
    elif source and any(f"{one}/".startswith(f"{source}/") for one in FOLDERS):
        title, then = f"{source} is, or holds, what is the host's own", "mount what it needs of it, read_only: true"
        yield "compose-folder", title, then
    elif DEVICE.fullmatch(source):
        yield "compose-device", f"{source} is a disk or the memory of the host", "remove it, or mount a folder"


def source_of(mount: Mapping[str, Any], volumes: Mapping[str, Any]) -> str:
    """Return what a mount brings in of the host, as itself or as a volume of the local driver's; empty for nothing."""
    if mount.get("type") == "bind":
        return normal(mount.get("source", ""))
    options = (volumes.get(str(mount.get("source"))) or {}).get("driver_opts") or {}
    words, device = re.split(r"[,\s]+", str(options.get("o", ""))), normal(options.get("device", ""))
    return device if {"bind", "rbind"} & {*words} or device.startswith("/dev/") else ""


def normal(path: object) -> str:
    """Write a path in the one way that names it; Compose leaves `..` and `//` in it. Pure."""
    return re.sub("^//", "/", normpath(f"/{path}")) if str(path).startswith("/") else str(path)


def nginx(path: str, text: str) -> Iterator[Finding]:
    """Judge the blocks of one template by what nginx drops and lets out without a word."""
    for block in blocks(text):
        name = "".join(block.words[-1:])
        heads = {words[0] for words in block.directives}
        included = {words[1] for words in block.directives if words[0] == "include" and len(words) > 1}
        for directive, (file, what) in DROPPED.items():
            if directive in heads and file not in included:
                title = f"{directive} in `{' '.join(block.words)}` drops {what}"
                rule, then = f"nginx-{directive.replace('_', '-')}", f"include {file}; there"
                yield finding(rule, title, path, block.line, then, name)
        if place := escaping(block):
            title = f"`{' '.join(block.words)}` ends without /, and its alias with one: {place}../ is the folder above"
            yield finding("nginx-alias", title, path, block.line, f"location {place}/", name)


def escaping(block: Block) -> str:
    """Return the path of a location whose alias lets visitors into the folder above; empty for any other."""
    head = [word for word in block.words if word != "^~"]
    if head[:1] != ["location"] or len(head) != 2 or head[1].endswith("/"):
        return ""  # regular expressions and exact ones have a word more
    return head[1] if any(one[0] == "alias" and one[-1].endswith("/") for one in block.directives) else ""


def blocks(text: str) -> list[Block]:
    """Read the blocks of a template: a directive belongs to the one that it stands in, not to those around it."""
    shown = HIDDEN.sub(lambda match: "\n" * match[0].count("\n"), text)
    done, opened, words = list[Block](), [Block()], list[str]()
    for token in TOKEN.finditer(shown):
        match token[0]:
            case ";":
                opened[-1].directives += [words] if words else []
                words = []
            case "{":
                opened.append(Block(words, shown.count("\n", 0, token.start()) + 1))
                words = []
            case "}":
                done += [opened.pop()] if len(opened) > 1 else []
            case word if not word.startswith("#"):
                words = [*words, word.strip("\"'")]
    return done + opened[1:]  # what jinja chooses between may open two and close one


def finding(rule: str, title: str, path: str, line: int, then: str, subject: str) -> Finding:
    """Make a finding of a rule about a service, or a block of nginx: what another one does is another finding."""
    return Finding("misconfigurations", rule, "HIGH", CHECKOUT, title, path, line, subject, then=then)


def places(names: Iterable[str], files: Sequence[tuple[str, str]]) -> dict[str, tuple[str, int]]:
    """Find the file and the line in which each service is described, by the files' paths and texts."""
    found = dict[str, tuple[str, int]]()
    for name in names:
        for path, text in files:
            if match := re.search(rf"(?m)^[ \t]+[\"']?{re.escape(name)}[\"']?:", text):
                found.setdefault(name, (path, text.count("\n", 0, match.start()) + 1))
    return found
