"""What may be silenced, and what Alertmanager is told."""

from __future__ import annotations

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost
from deploy.monitoring import silence
from tests.support import samples

AT = Environment(samples.settings(), LocalHost(), (LocalHost(),))


@pytest.mark.parametrize(
    ("matchers", "duration", "comment", "reason"),
    [
        (["service"], "2h", "why", "service is no matcher"),
        (["service=~("], "2h", "why", "is no matcher"),
        (["service=a"], "", "why", "--duration="),
        (["service=a"], "8d", "why", "is not from 1m to 7d"),
        (["service=a"], "0m", "why", "is not from 1m to 7d"),
        (["service=a"], "2h", " ", "--comment is missing"),
        (["alertname=~.*"], "2h", "why", "it fits Watchdog"),
        (["severity!=critical"], "2h", "why", "it fits Watchdog"),
        (["host=localhost"], "2h", "why", "it fits Watchdog"),
        (["service!~a|b"], "2h", "why", "it fits Watchdog"),
    ],
)
def test_what_cannot_be_meant_is_refused(matchers: list[str], duration: str, comment: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason.replace("(", "\\(")):
        silence.add(AT, matchers, duration, comment)


@pytest.mark.parametrize("matcher", ["service=worker", "alertname=~Backup.*", "severity=critical", "service!="])
def test_what_does_not_fit_the_sign_of_life_is_taken(matcher: str) -> None:
    wrong = silence.mistakes(AT, [matcher], "2h", "why")
    assert wrong == ([] if silence.MATCHER.fullmatch(matcher) else [f"{matcher} is no matcher, as in {HINT}"])


HINT = "service=worker or alertname=~Backup.*"


def test_a_silence_is_shown_as_it_is_typed() -> None:
    one = {
        "id": "1-2", "status": {"state": "active"}, "endsAt": "2026-11-30T10:00:00.123Z", "comment": "why",
        "createdBy": "ann", "matchers": [
            {"name": "service", "value": "worker", "isRegex": False, "isEqual": True},
            {"name": "alertname", "value": "Backup.*", "isRegex": True, "isEqual": False},
        ],
    }  # fmt: skip
    read = silence.silence_of("h1", one)
    assert (read.matchers, read.until) == (("service=worker", "alertname!~Backup.*"), "2026-11-30T10:00:00Z")
