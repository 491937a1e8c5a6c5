"""What is known of secrets without showing one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deploy.config import secrets
from deploy.config.secrets import envfile, rules
from deploy.config.secrets.rules import Documented
from deploy.config.secrets.values import generate
from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost
from tests.support import samples

VALUES = st.dictionaries(st.text("ABC", min_size=1), st.text(st.characters(exclude_categories=["Cs"])), min_size=1)


def at(folder: Path, name: str = "", **own: Any) -> Settings:
    """Settings of a checkout, whose secrets are in a file of this name."""
    return samples.settings(folder, secrets={"file": name, **own})


@pytest.mark.parametrize("value", ["", " ", "change-me", "ChangeMe", "TODO", "<random db>", "password"])
def test_a_placeholder_is_refused_by_name_only(value: str) -> None:
    assert rules.mistakes({"TOKEN": value, "GOOD": "s3cr3t"}, Documented({"TOKEN"}), {}) == [
        "TOKEN still holds a placeholder"
    ]


@pytest.mark.parametrize("key", ["A B", "A:B", "A=B", "1A", "Ä", "A\nB"])
def test_a_name_that_compose_reads_otherwise_is_refused(key: str) -> None:
    values = {key: "hunter2", "A_b-c.D1": "s3cr3t"}
    assert rules.mistakes(values, Documented({key}), {}) == [f"`{key}` is no name of a variable"]
    assert rules.mistakes(values, Documented(()), {key: 7}) == [
        "line 7 is no NAME=value; a value of several lines stands in quotes"
    ]


def test_the_rest_of_a_value_that_stands_without_quotes_is_no_key(tmp_path: Path) -> None:
    path, pieces = (
        tmp_path / ".env.prod",
        ["MIIEvQIBADANBg", "kqhkiG9w+0BAQE", "FAASCBKcwggSjA/gEA==", "AoIBAQC7VJTUt9Us8cKB="],
    )
    path.write_text("\n".join(["A=ok", "", "KEY=-----BEGIN", *pieces, "EMPTY", "TOKEN=changeme", "DOCUMENTED", ""]))
    path.chmod(0o600)
    (tmp_path / ".env.example").write_text("A=x\nDOCUMENTED=y\n")
    with pytest.raises(Refused) as error:
        secrets.read(at(tmp_path, path.name))
    stray = [f"line {number} is no NAME=value; a value of several lines stands in quotes" for number in (4, 5, 6, 7, 8)]
    assert error.value.what.split("\n    ")[1:] == [
        *stray,
        "TOKEN still holds a placeholder",
        "DOCUMENTED still holds a placeholder",
    ]


def test_all_reasons_at_once_and_no_value(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=x\nB=y\n")
    (tmp_path / ".env.local").write_text("A=changeme\nC=hunter2\n")
    (tmp_path / ".env.local").chmod(0o644)
    with pytest.raises(Refused) as error:
        secrets.read(at(tmp_path))
    text = str(error.value)
    assert all(words in text for words in ("A still holds", "B is missing", "chmod 600")), text
    assert "hunter2" not in text


@pytest.mark.parametrize(("text", "words"), [
    (b"A=ok\n\nEXTRA='it is\nC=y\n=z\n", "line 3\n    line 5"),
    ("A=ok\nB=\u00e9".encode("latin-1"), r"\.env\.prod is not UTF-8, line 2"),
])  # fmt: skip
def test_what_cannot_be_understood_is_refused_and_not_left_out(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / ".env.prod").write_bytes(text)
    (tmp_path / ".env.prod").chmod(0o600)
    for look in (
        lambda path: secrets.read(at(tmp_path, path.name)),
        lambda path: secrets.own(at(tmp_path, path.name), "A"),
    ):
        with pytest.raises(Refused, match=words) as error:
            look(tmp_path / ".env.prod")
        assert "it is" not in str(error.value)


def test_a_secret_of_the_toolkit_is_no_more_for_others_than_those_of_the_app(tmp_path: Path) -> None:
    (tmp_path / ".env.prod").write_text("REGISTRY_PASSWORD=s3cr3t\n")
    (tmp_path / ".env.prod").chmod(0o644)
    assert secrets.own(at(tmp_path, ".env.prod"), "NOTIFY_URLS") == ""
    with pytest.raises(Refused, match=r"chmod 600 \.env\.prod"):
        secrets.own(at(tmp_path, ".env.prod"), "REGISTRY_PASSWORD")


def test_an_app_without_secrets_needs_no_file(tmp_path: Path) -> None:
    assert secrets.read(at(tmp_path)) == {}


def test_a_file_that_the_settings_name_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"\.env\.prodd does not exist") as error:
        secrets.read(at(tmp_path, ".env.prodd"))
    assert "the setting secrets.file" in error.value.then


def test_a_folder_is_no_file_of_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env.local").mkdir()
    with pytest.raises(Refused, match=r"\.env\.local cannot be read: Is a directory"):
        secrets.read(at(tmp_path))


def test_without_an_example_there_is_nothing_to_make_a_file_from(tmp_path: Path) -> None:
    path, example = tmp_path / ".env.local", tmp_path / ".env.example"
    with pytest.raises(Refused, match=r"there is no \.env\.example"):
        secrets.create(at(tmp_path), LocalHost())
    example.write_bytes(b"A=\xe9\n")
    with pytest.raises(Refused, match="is not UTF-8"):
        secrets.create(at(tmp_path), LocalHost())
    assert not path.exists()


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=x\n")
    with pytest.raises(Refused, match=r"inv secrets\.init"):
        secrets.read(at(tmp_path))


def test_generate_gives_one_name_one_value() -> None:
    lines = generate("A=<random db>\nURL=pg://u:<random db>@h\nB=<random other>\n").splitlines()
    first, url, second = (line.partition("=")[2] for line in lines)
    assert url == f"pg://u:{first}@h"
    assert first != second
    assert min(len(first), len(second)) >= 32


def test_create_keeps_what_is_there_and_is_private(tmp_path: Path) -> None:
    path, example = tmp_path / ".env.local", tmp_path / ".env.example"
    example.write_text("A=<random a>\n")
    assert secrets.create(at(tmp_path), LocalHost())
    made = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not secrets.create(at(tmp_path), LocalHost())
    assert path.read_text() == made


@given(VALUES, st.data())
def test_the_version_changes_with_any_value_and_says_none(values: dict[str, str], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(values)))
    version = secrets.version(values)
    assert version != secrets.version({**values, key: values[key] + "x"})
    assert version != secrets.version({k: v for k, v in values.items() if k != key})
    assert version == secrets.version(dict(reversed(values.items())))
    assert len(version) == 12
    assert set(version) <= set("0123456789abcdef")


def test_values_do_not_run_into_each_other() -> None:
    assert secrets.version({"A": "1", "B": "2"}) != secrets.version({"A": "1B2"})


@given(VALUES)
def test_what_was_rendered_is_read_back(values: dict[str, str]) -> None:
    assert secrets.rendered(secrets.render(values)) == values


@given(VALUES)
def test_a_file_of_secrets_is_read_back_to_the_letter(values: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, ".env.prod")
        file.write_bytes(secrets.as_file(values).encode())
        missing = {key for key in values if f"# {key} must be written by hand\n" in file.read_text()}
        read = envfile.values(envfile.parse(file.read_text()))
        assert read == {key: value for key, value in values.items() if key not in missing}
        assert all(set(values[key]) & {"\\", *"\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"} for key in missing), (
            "exotic ones alone"
        )


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("postgresql://books:s3cr3t/pass@db", "postgresql://books:***@db"),
        ("postgresql://books:s3cr3t%2Fpass@db", "postgresql://books:***@db"),
        ("a value that begins like it, s3cr3t/passage, too", "a value that begins like it, ***, too"),
        ("abc is too short to be one", "abc is too short to be one"),
    ],
)
def test_secrets_are_hidden_in_what_programs_print(message: str, shown: str) -> None:
    assert secrets.masked(message, ["s3cr3t/pass", "s3cr3t/passage", "abc", ""]) == shown


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0B/AQE\nab\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "message",
    [PEM, repr(PEM), repr(PEM.encode()), json.dumps({"key": PEM}), "a: kqhkiG9w0B/AQE", "a: kqhkiG9w0B%2FAQE"],
)
def test_no_line_of_a_secret_of_several_is_shown(message: str) -> None:
    shown = secrets.masked(message, [PEM])
    assert not [part for part in ("MII", "kqhk", "AQE", "BEGIN") if part in shown], shown


def test_what_python_and_json_escape_is_hidden_too() -> None:
    value = "pass'wö\\rd\t"
    for line in (repr(value), json.dumps(value)):
        assert "wö" not in secrets.masked(line, [value])
        assert "rd" not in secrets.masked(line, [value])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / ".env.prod"
    path.write_text("\ufeffA=ok\n", encoding="utf-8")
    path.chmod(0o600)
    assert secrets.read(at(tmp_path, path.name)) == {"A": "ok"}
    assert secrets.names(path) == {"A"}


def filled(folder: Path, example: str, own: str, name: str = ".env.local") -> Settings:
    """Settings of a checkout with an example and a file of secrets."""
    (folder / ".env.example").write_text(example)
    (folder / name).write_bytes(own.encode())
    (folder / name).chmod(0o600)
    return at(folder, name)


@pytest.mark.parametrize(
    "example",
    [
        "# optional: where errors go\nSENTRY_DSN=\n",
        "# Optional, of more\n# than one line\nSENTRY_DSN=x\n",
        "SENTRY_DSN= # optional\n",
        "SENTRY_DSN='x#y' # optional\n",
    ],
)
def test_an_optional_key_may_be_empty_or_not_be_there(tmp_path: Path, example: str) -> None:
    example = f"A=x\n\n{example}\n# the last\nB=x\n"
    assert secrets.read(filled(tmp_path, example, "A=1\nB=2\nSENTRY_DSN=\n")) == {"A": "1", "B": "2", "SENTRY_DSN": ""}
    assert secrets.read(filled(tmp_path, example, "A=1\nB=2\n")) == {"A": "1", "B": "2"}
    with pytest.raises(Refused, match="SENTRY_DSN still holds a placeholder"):
        secrets.read(filled(tmp_path, example, "A=1\nB=2\nSENTRY_DSN=change-me\n"))
    with pytest.raises(Refused, match="B still holds a placeholder"):
        secrets.read(filled(tmp_path, example, "A=1\nB=\n"))


@pytest.mark.parametrize(
    "example",
    ["# optional\n\nA=\n", "# optional\nB=\nA=\n", "# not optional\nA=\n", "A='# optional'\n", "A=x#optional\n"],
)
def test_what_is_not_marked_must_be_there(tmp_path: Path, example: str) -> None:
    with pytest.raises(Refused, match="A is missing"):
        secrets.read(filled(tmp_path, example, "B=1\n"))


def test_a_comment_is_no_value(tmp_path: Path) -> None:
    settings = filled(tmp_path, "# optional\nA=\n", "A= # where errors go\nB=#7\nC=x # y\nexport D='# z'\n")
    assert secrets.read(settings) == {"A": "", "B": "#7", "C": "x", "D": "# z"}


@pytest.mark.parametrize(
    "value", ["changethis", "postgresql://app:changethis@db/app", "https://x/?token=Change-Me", "change_me"]
)
def test_a_placeholder_within_a_url_is_one(value: str) -> None:
    assert rules.is_placeholder(value)


@pytest.mark.parametrize(
    "value", ["exchange-methods", "https://app.test/password", "changethisd", "postgresql://app:secret-9@db"]
)
def test_what_resembles_a_placeholder_is_none(value: str) -> None:
    assert not rules.is_placeholder(value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("POSTGRES_PASSWORD", "hunter2"),
        ("SECRET_KEY", "aaaaaaaaaaaaaaaaaaaaaaaa"),
        ("API_TOKENS", "abcabcabcabc"),
        ("SIGNING_KEY_PREVIOUS", "1234"),
        ("DATABASE_URL", "postgresql://app:app@db/app"),
    ],
)
def test_what_can_be_guessed_is_weak(key: str, value: str) -> None:
    assert rules.weak({key: value, "OTHER": value.partition(":")[0]}) == [key]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("SECRET_KEY", "six red boats at dawn"),
        ("SECRET_KEY", ""),
        ("PUBLIC_KEY", "short"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "60"),
        ("KEY_ID", "7"),
        ("DATABASE_URL", "postgresql://app@db/app"),
        ("BROKEN_URL", "http://[x"),
        ("SMTP_HOST", "mail"),
    ],
)
def test_what_nobody_guesses_or_may_be_guessed_is_not_weak(key: str, value: str) -> None:
    assert rules.weak({key: value}) == []


@pytest.mark.parametrize(
    ("own", "value"),
    [
        ("A='it\\'s \"so\"'", 'it\'s "so"'),
        ('A="two\\nlines"', "two\nlines"),
        ("A='-----BEGIN\nx\n-----END'", "-----BEGIN\nx\n-----END"),
        ("A=s3cr$et#1", "s3cr$et#1"),
        ("A='${HOME} $$ $(id) `id`'", "${HOME} $$ $(id) `id`"),
        ("A=pässwörd-密码", "pässwörd-密码"),
        ("\ufeffA=with-a-mark", "with-a-mark"),
        ("A=crlf\r\nB=2\r", "crlf"),
        ("A='two\r\nlines'\r\n", "two\nlines"),
        ("A=" + "x" * (128 * 1024 - 3), "x" * (128 * 1024 - 3)),
        ("A='a\u2028b\x85c\x0cd'", "a\u2028b\x85c\x0cd"),
    ],
    ids=lambda text: text[:12],
)
def test_a_hard_value_is_read_as_it_was_meant(tmp_path: Path, own: str, value: str) -> None:
    assert secrets.read(filled(tmp_path, "A=x\n", own))["A"] == value


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ("A=" + "x" * 140_000, "A has 136 kB, and a variable has at most 128"),
        ("A=x\0y", "A holds a NUL character"),
    ],
    ids=["140 kB", "NUL"],
)
def test_what_no_program_can_be_given_is_refused_by_name(tmp_path: Path, own: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        secrets.read(filled(tmp_path, "A=x\n", own))
    assert "xx" not in str(refused.value)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"file": "a", "command": "b"}, "are two sources"),
        ({"file": "a.age"}, r"needs \[secrets.recipients\]"),
        ({"file": "a.age", "recipients": {"alice": "AGE-SECRET-KEY-1X"}}, "it must be a public key"),
    ],
)
def test_a_source_that_cannot_be_is_refused(own: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        samples.settings(secrets=own)


def test_a_text_is_the_name_of_a_file_and_a_command_a_line_for_sh(tmp_path: Path) -> None:
    assert samples.settings(tmp_path, secrets=".env.production").secrets_file == tmp_path / ".env.production"
    assert samples.settings(tmp_path, secrets={"command": "a | b"}).secrets.command == ["sh", "-c", "a | b"]


@pytest.mark.parametrize(
    "name",
    ["DATABASE_URL", "MONGO_URI", "SENTRY_DSN", "SMTP_PWD", "PGPASS", "APIKEY", "AWS_ACCESS_KEY_ID"],
)
def test_a_name_whose_value_may_hold_a_password_is_advised_into_git_only_without_one(name: str) -> None:
    assert rules.place_of(name).endswith("or into [variables] where it holds no password")


@pytest.mark.parametrize("name", ["PG_USER", "TAG", "PWD", "GREETING", "MONKEY", "TOKENIZER", "PINNED", "PUBLIC_URL"])
def test_a_plain_name_is_advised_into_the_settings(name: str) -> None:
    assert rules.place_of(name).startswith("[variables]")


def test_a_password_is_never_advised_into_git() -> None:
    assert "[variables]" not in rules.place_of("DB_PASSWORD")
