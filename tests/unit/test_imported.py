"""Hosts of Terraform's output in an environment's file: what is kept, what goes, what is refused."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from deploy.core.errors import OpsError, Refused
from deploy.provisioning import imported
from deploy.provisioning.imported import Row

ALL = ["app", "worker", "edge", "data", "monitoring"]
KEY = "ssh-ed25519 AAAA"


def output(*hosts: dict[str, Any], **others: Any) -> str:
    """Print what `terraform output -json` prints."""
    values = {"hosts": list(hosts), **others}
    return json.dumps({name: {"sensitive": False, "value": value} for name, value in values.items()})


def table(**host: Any) -> dict[str, Any]:
    return imported.parse(output({"name": "app1", **host})).hosts.value[0].table


@pytest.mark.parametrize(
    ("before", "host", "after"),
    [
        pytest.param({}, {"address": "10.0.0.1"}, {"address": "10.0.0.1"}, id="a new host"),
        pytest.param(
            {"address": "10.0.0.1", "key": KEY, "user": "me"},
            {"address": "10.0.0.1"},
            {"address": "10.0.0.1", "key": KEY, "user": "me"},
            id="nothing changed: the key and what a person wrote stay",
        ),
        pytest.param(
            {"address": "10.0.0.1", "key": KEY},
            {"address": "10.0.0.2"},
            {"address": "10.0.0.2"},
            id="another address: the pinned key goes",
        ),
        pytest.param(
            {"address": "10.0.0.1", "key": KEY},
            {"address": "10.0.0.1", "port": 2222},
            {"address": "10.0.0.1", "port": 2222},
            id="another port: the pinned key goes",
        ),
        pytest.param(
            {"address": "10.0.0.1", "key": KEY},
            {"address": "10.0.0.1", "private": "10.9.0.1", "roles": ["app"]},
            {"address": "10.0.0.1", "key": KEY, "private": "10.9.0.1", "roles": ["app"]},
            id="another private address: the same machine",
        ),
        pytest.param(
            {"address": "a.test", "roles": ["edge", "app"]},
            {"address": "a.test", "roles": ["app", "edge"]},
            {"address": "a.test", "roles": ["edge", "app"]},
            id="roles in another order are the same",
        ),
        pytest.param(
            {"address": "a.test", "roles": ["app"], "private": "10.9.0.1"},
            {"address": "a.test", "roles": sorted(ALL), "private": ""},
            {"address": "a.test"},
            id="what is so without the key needs none",
        ),
        pytest.param(
            {"address": "a.test", "roles": ALL},
            {"address": "a.test", "roles": ALL},
            {"address": "a.test", "roles": ALL},
            id="what says so already stays",
        ),
    ],
)
def test_a_section_keeps_what_terraform_does_not_know(
    before: dict[str, Any], host: dict[str, Any], after: dict[str, Any]
) -> None:
    assert imported.merge_one(before, table(**host)) == after
    assert imported.merge_one(after, table(**host)) == after, "a second run changes nothing"


def test_what_becomes_of_each_host() -> None:
    same, moved = {"address": "a.test", "key": KEY}, {"address": "b.test"}
    before = {"gone": same, "moved": {**moved, "key": KEY}, "same": same}
    assert imported.compare(before, {"same": same, "moved": moved, "new": moved}) == [
        Row("same", "unchanged"),
        Row("moved", "changed", ("key",), pin=True),
        Row("new", "added", ("address",), pin=True),
        Row("gone", "removed"),
    ]
    assert [*imported.advice([Row("moved", "changed", ("address", "key"), pin=True), Row("same", "unchanged")])] == [
        "moved: the address changed, so the pinned host key went",
        "next: inv hosts.pin moved",
    ]


HOSTS: dict[str, dict[str, Any]] = {"app1": {"address": "a.test"}, "app3": {"address": "c.test", "roles": ["app"]}}
FORMS = {
    "sections": """# one
domain = "x"

[hosts.app1]  # two
address = "o.test"  # three
key = "k"
# four

[hosts.app2]
address = "b.test"
""",
    "no hosts": """# one
domain = "x" # two

[ssh] # three
user = "me" # four
""",
    "an empty file": "# one two three four\n",
    "in the middle": """# one
[hosts.app2]
address = "b.test"
[hosts.app1]
# two
[ssh]
user = "me" # three

# four
[edge]
port = 1
""",
    "apart": """# one
[hosts.app1]
address = "o.test" # two

[ssh] # three
user = "me"

[hosts.app2]
address = "b"
[edge] # four
port = 1
""",
    "dotted": """# one two
hosts.app1.address = "o.test" # three
hosts.app2.address = "b.test"
[ssh]
user = "me" # four
""",
    "inline": """# one
hosts = {app1 = {address = "o.test", key = "k"}, app2 = {address = "b"}} # two
[ssh]
user = "me" # three four
""",
    "one table": """# one
[hosts] # two
app1 = {address = "o.test"} # three
app2 = {address = "b"}
[ssh] # four
""",
    "Windows": '# one two\r\n[hosts.app1]\r\naddress = "o.test"  # three\r\n[ssh] # four\r\nuser = "me"\r\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_file_says_so_afterwards_and_keeps_the_rest(form: str) -> None:
    content = FORMS[form]
    edited = imported.rewrite(content, HOSTS, "prod.toml")
    assert tomllib.loads(edited) == {**tomllib.loads(content), "hosts": HOSTS}
    assert all(word in edited for word in ("one", "two", "three", "four"))
    assert imported.rewrite(edited, HOSTS, "prod.toml") == edited


@pytest.mark.parametrize("gone", ["app1", "app2"])
def test_a_comment_on_the_next_section_stays_when_a_host_goes(gone: str) -> None:
    content = """domain = "x"

# the first
[hosts.app1]
address = "a.test"
# not yet: user = "me"

# the second
[hosts.app2]
# its own
address = "b.test"

# of the edge
[edge]
port = 1
"""
    kept = {name: table for name, table in tomllib.loads(content)["hosts"].items() if name != gone}
    edited = imported.rewrite(content, kept, "prod.toml")
    assert tomllib.loads(edited) == {**tomllib.loads(content), "hosts": kept}
    assert all(words in edited for words in ("# the first\n", "# the second\n", "# of the edge\n[edge]"))


def test_a_form_that_cannot_be_kept_is_a_failure_and_not_a_broken_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.provisioning.imported.edit", lambda *_: None)
    with pytest.raises(OpsError, match="cannot be changed; nothing was") as raised:
        imported.rewrite(FORMS["sections"], HOSTS, "prod.toml")
    assert raised.value.slug == "hosts-not-written"


def test_every_mistake_of_an_output_is_named_at_once_and_no_value() -> None:
    hosts: list[dict[str, Any]] = [
        {"name": "App 1", "address": "a.test"},
        {"name": "app2", "adress": "hunter2"},
        {"name": "app3", "address": "a b", "roles": ["web"], "private": "127.0.0.1", "port": 0},
        {"name": "app4", "address": "d.test", "key": KEY},
    ]
    with pytest.raises(Refused) as raised:
        imported.parse(output(*hosts, **{"password": "hunter2"}))
    error = raised.value
    assert (error.code, error.slug, "hunter2" in str(error)) == (2, "terraform-output-invalid", False)
    for place, words in [
        ("hosts.value.0.name", "lower-case"),
        ("hosts.value.1.address", "it is missing"),
        ("hosts.value.1.adress", "unknown key; did you mean address?"),
        ("hosts.value.2.address", "without a port"),
        ("hosts.value.2.roles.0", "'app'"),
        ("hosts.value.2.private", "no other host reaches one"),
        ("hosts.value.2.port", "greater than 0"),
        ("hosts.value.3.key", "compared by a person: inv hosts.pin"),
    ]:
        assert any(place in line and words in line for line in error.what.splitlines()), (place, error.what)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the whole"), (b"\xff{", "the whole"), ("null", "the whole"), ("[]", "the whole"),
        ("{}", "hosts: it is missing"),
        (output(), "hosts.value: "), (json.dumps({"hosts": [{"name": "a"}]}), "hosts: "),
        (output({"name": "a", "address": "a.test"}, {"name": "a", "address": "b.test"}), "a is there twice"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_hosts_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(Refused) as raised:
        imported.parse(text)
    assert words in raised.value.what
