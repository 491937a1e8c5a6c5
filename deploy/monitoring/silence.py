"""Silences of Alertmanager: nobody is notified of some alerts for a while, with a reason that others can read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError, Refused, refuse
from deploy.core.shell import Command, docker
from deploy.hosts.host import Host
from deploy.monitoring.stack import project_of
from deploy.state.locks import who

MATCHER = re.compile(r"([a-zA-Z_]\w*)(=~|!~|!=|=)(.+)")
DURATION = re.compile(r"([1-9]\d{0,3})([mhd])")
MINUTES = {"m": 1, "h": 60, "d": 24 * 60}
LONGEST = 7 * 24 * 60  # minutes: what nobody wants to hear of for longer is a rule to be changed
THEN = "inv monitor.silence service=worker --duration=2h --comment='why'"


@dataclass(frozen=True)
class Silence:
    """A silence of one host's Alertmanager."""

    host: str
    id: str
    matchers: tuple[str, ...]
    until: str
    comment: str
    by: str

    @property
    def document(self) -> dict[str, object]:
        """The silence for programs."""
        return {
            "host": self.host, "id": self.id, "matchers": list(self.matchers), "until": self.until,
            "comment": self.comment, "by": self.by,
        }  # fmt: skip


def change(at: Environment, matchers: Sequence[str], duration: str, comment: str, ended: str) -> None:
    """End a silence where one is named, else add one where there are matchers."""
    if ended:
        expire(at, ended)
    elif matchers:
        add(at, matchers, duration, comment)


def add(at: Environment, matchers: Sequence[str], duration: str, comment: str) -> None:
    """Silence what fits all matchers on every host for a while; raise Refused for what cannot be meant."""
    refuse(
        "nothing was silenced:",
        mistakes(at, matchers, duration, comment),
        where="inv monitor.silence",
        then=THEN,
        slug="wrong-usage",
    )
    words = ("add", f"--author={who()}", f"--duration={duration}", f"--comment={comment}", *matchers)
    at.each(lambda host: amtool(at, host, *words))


def mistakes(at: Environment, matchers: Sequence[str], duration: str, comment: str) -> list[str]:
    """List what is wrong with a silence that somebody asks for. Pure."""
    wrong = [f"{one} is no matcher, as in service=worker or alertname=~Backup.*" for one in matchers if not valid(one)]
    length = DURATION.fullmatch(duration)
    if not length or int(length[1]) * MINUTES[length[2]] > LONGEST:
        wrong.append(f"--duration={duration} is not from 1m to 7d")
    if not comment.strip():
        wrong.append("--comment is missing: others must know why")
    watchdog = {"alertname": "Watchdog", "severity": "none", "app": at.settings.app, "env": at.settings.env}
    hosts = [{**watchdog, "host": host.name} for host in at.hosts]
    if not wrong and any(all(fits(one, labels) for one in matchers) for labels in hosts):
        wrong.append("it fits Watchdog, by which monitoring shows that it lives: add alertname or service")
    return wrong


def valid(matcher: str) -> bool:
    """Tell whether a text is a matcher. Pure."""
    parts = MATCHER.fullmatch(matcher)
    try:
        return bool(parts and re.compile(parts[3]))
    except re.error:
        return False


def fits(matcher: str, labels: Mapping[str, str]) -> bool:
    """Tell whether labels fit a matcher, as Alertmanager has it: a label that is not there is empty. Pure."""
    name, operator, value = MATCHER.fullmatch(matcher).groups()  # type: ignore[union-attr]  # it is valid
    actual = labels.get(name, "")
    same = bool(re.fullmatch(value, actual)) if "~" in operator else actual == value
    return same != operator.startswith("!")


def expire(at: Environment, silence: str) -> None:
    """End a silence now; raise Refused when no host has it."""
    own = [one for one in listed(at) if one.id == silence]
    if not own:
        what = f"no host has a silence {silence}"
        raise Refused(what, where="--expire", then="inv monitor.silence lists them", slug="silence-unknown")
    (host,) = [host for host in at.hosts if host.name == own[0].host]
    amtool(at, host, "expire", silence)


def listed(at: Environment) -> list[Silence]:
    """List what is silenced now on every host; raise OpsError where Alertmanager does not answer."""
    return [one for own in at.each(lambda host: on_host(at, host)).values() for one in own]


def on_host(at: Environment, host: Host) -> list[Silence]:
    """List what is silenced now on one host."""
    status, body = host.get(at.settings.monitor.alertmanager_port, "/api/v2/silences", timeout=5)
    if status != 200:
        what = "Alertmanager does not answer"
        raise OpsError(what, where=host.name, then="inv monitor.up", slug="alertmanager-down")
    return [silence_of(host.name, one) for one in json.loads(body) if one["status"]["state"] != "expired"]


def silence_of(host: str, one: Mapping[str, Any]) -> Silence:
    """Read a silence of Alertmanager's API. Pure."""
    matchers = tuple(map(matcher_of, one["matchers"]))
    return Silence(host, one["id"], matchers, one["endsAt"][:19] + "Z", one["comment"], one["createdBy"])


def matcher_of(one: Mapping[str, Any]) -> str:
    """Write a matcher of Alertmanager's API as a person types it. Pure."""
    equal = one.get("isEqual", True)
    operator = ("=~" if equal else "!~") if one["isRegex"] else ("=" if equal else "!=")
    return f"{one['name']}{operator}{one['value']}"


def amtool(at: Environment, host: Host, *words: str) -> None:
    """Tell one host's Alertmanager; raise OpsError when it says no."""
    try:
        host.run(command(project_of(at.settings), *words))
    except CommandFailed as error:
        what = f"Alertmanager has not taken it:\n{error.output}"
        raise OpsError(what, where=host.name, then="inv monitor.check", slug="silence-failed") from None


def command(project: str, *words: str) -> Command:
    """Make a command of amtool, which is in Alertmanager's image. Pure."""
    return docker(
        "exec", f"{project}-alertmanager-1", "amtool", "--alertmanager.url=http://127.0.0.1:9093", "silence", *words
    )


def show(silences: Sequence[Silence], env: str, *, json: bool) -> None:
    """Show what is silenced, with the id by which it is ended."""
    if json:
        return console.document({"env": env, "silences": [one.document for one in silences]})
    rows = [[one.id, " ".join(one.matchers), one.until, one.by, one.comment, one.host] for one in silences]
    if not rows:
        return console.say("nothing is silenced")
    return console.table(["id", "matchers", "until", "by", "comment", "host"], rows)
