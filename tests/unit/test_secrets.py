"""What is known of secrets without showing one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.config import secrets
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost

VALUES = st.dictionaries(st.text("ABC", min_size=1), st.text(st.characters(exclude_categories=["Cs"])), min_size=1)


@pytest.mark.parametrize("value", ["", " ", "change-me", "ChangeMe", "TODO", "<random db>", "password"])
def test_a_placeholder_is_refused_by_name_only(value: str) -> None:
    assert secrets.mistakes({"TOKEN": value, "GOOD": "s3cr3t"}, {"TOKEN"}, {}) == ["TOKEN still holds a placeholder"]


@pytest.mark.parametrize("key", ["A B", "A:B", "A=B", "1A", "Ä", "A\nB"])
def test_a_name_that_compose_reads_otherwise_is_refused(key: str) -> None:
    values = {key: "hunter2", "A_b-c.D1": "s3cr3t"}
    assert secrets.mistakes(values, {key}, {}) == [f"`{key}` is no name of a variable"]
    assert secrets.mistakes(values, {}, {key: 7}) == [
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
    with pytest.raises(Refused) as told:
        secrets.read(path, tmp_path / ".env.example")
    stray = [f"line {number} is no NAME=value; a value of several lines stands in quotes" for number in (4, 5, 6, 7, 8)]
    assert told.value.what.split("\n    ")[1:] == [
        *stray,
        "TOKEN still holds a placeholder",
        "DOCUMENTED still holds a placeholder",
    ]


def test_all_reasons_at_once_and_no_value(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=x\nB=y\n")
    (tmp_path / ".env.local").write_text("A=changeme\nC=hunter2\n")
    (tmp_path / ".env.local").chmod(0o644)
    with pytest.raises(Refused) as told:
        secrets.read(tmp_path / ".env.local", tmp_path / ".env.example")
    text = str(told.value)
    assert all(words in text for words in ("A still holds", "B is missing", "chmod 600")), text
    assert "hunter2" not in text


@pytest.mark.parametrize(("text", "words"), [
    (b"A=ok\n\nEXTRA='it is\nC=y\n=z\n", "line 3\n    line 5"), ("A=ok\nB=\u00e9".encode("latin-1"), r"\.env\.prod is not UTF-8, line 2"),
])  # fmt: skip
def test_what_cannot_be_understood_is_refused_and_not_left_out(tmp_path: Path, text: bytes, words: str) -> None:
    (tmp_path / ".env.prod").write_bytes(text)
    (tmp_path / ".env.prod").chmod(0o600)
    for look in (lambda path: secrets.read(path, tmp_path / "none"), lambda path: secrets.own(path, "A")):
        with pytest.raises(Refused, match=words) as told:
            look(tmp_path / ".env.prod")
        assert "it is" not in str(told.value)


def test_a_secret_of_the_toolkit_is_no_more_for_others_than_those_of_the_app(tmp_path: Path) -> None:
    (tmp_path / ".env.prod").write_text("REGISTRY_PASSWORD=s3cr3t\n")
    (tmp_path / ".env.prod").chmod(0o644)
    assert secrets.own(tmp_path / ".env.prod", "NOTIFY_URLS") == ""
    with pytest.raises(Refused, match=r"chmod 600 \.env\.prod"):
        secrets.own(tmp_path / ".env.prod", "REGISTRY_PASSWORD")


def test_an_app_without_secrets_needs_no_file(tmp_path: Path) -> None:
    assert secrets.read(tmp_path / ".env.local", tmp_path / ".env.example") == {}


def test_a_file_that_the_settings_name_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"\.env\.prodd does not exist") as told:
        secrets.read(tmp_path / ".env.prodd", tmp_path / ".env.example", named=True)
    assert "the setting secrets" in told.value.then


def test_a_folder_is_no_file_of_secrets(tmp_path: Path) -> None:
    (tmp_path / ".env.local").mkdir()
    with pytest.raises(Refused, match=r"\.env\.local cannot be read: Is a directory"):
        secrets.read(tmp_path / ".env.local", tmp_path / ".env.example")


def test_without_an_example_there_is_nothing_to_make_a_file_from(tmp_path: Path) -> None:
    path, example = tmp_path / ".env.local", tmp_path / ".env.example"
    with pytest.raises(Refused, match=r"there is no \.env\.example"):
        secrets.create(path, example, LocalHost())
    example.write_bytes(b"A=\xe9\n")
    with pytest.raises(Refused, match="is not UTF-8"):
        secrets.create(path, example, LocalHost())
    assert not path.exists()


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    (tmp_path / ".env.example").write_text("A=x\n")
    with pytest.raises(Refused, match=r"inv secrets\.init"):
        secrets.read(tmp_path / ".env.local", tmp_path / ".env.example")


def test_generate_gives_one_name_one_value() -> None:
    lines = secrets.generate("A=<random db>\nURL=pg://u:<random db>@h\nB=<random other>\n").splitlines()
    first, url, second = (line.partition("=")[2] for line in lines)
    assert url == f"pg://u:{first}@h"
    assert first != second
    assert min(len(first), len(second)) >= 32


def test_create_keeps_what_is_there_and_is_private(tmp_path: Path) -> None:
    path, example = tmp_path / ".env.local", tmp_path / ".env.example"
    example.write_text("A=<random a>\n")
    assert secrets.create(path, example, LocalHost())
    made = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert not secrets.create(path, example, LocalHost())
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


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("postgresql://books:s3cr3t/pass@db", "postgresql://books:***@db"),
        ("postgresql://books:s3cr3t%2Fpass@db", "postgresql://books:***@db"),
        ("a value that begins like it, s3cr3t/passage, too", "a value that begins like it, ***, too"),
        ("abc is too short to be one", "abc is too short to be one"),
    ],
)
def test_secrets_are_hidden_in_what_programs_print(said: str, shown: str) -> None:
    assert secrets.masked(said, ["s3cr3t/pass", "s3cr3t/passage", "abc", ""]) == shown


PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0B/AQE\nab\n-----END KEY-----\n"


@pytest.mark.parametrize(
    "said", [PEM, repr(PEM), repr(PEM.encode()), json.dumps({"key": PEM}), "a: kqhkiG9w0B/AQE", "a: kqhkiG9w0B%2FAQE"]
)
def test_no_line_of_a_secret_of_several_is_shown(said: str) -> None:
    shown = secrets.masked(said, [PEM])
    assert not [part for part in ("MII", "kqhk", "AQE", "BEGIN") if part in shown], shown


def test_what_python_and_json_escape_is_hidden_too() -> None:
    value = "pass'wö\\rd\t"
    for said in (repr(value), json.dumps(value)):
        assert "wö" not in secrets.masked(said, [value])
        assert "rd" not in secrets.masked(said, [value])


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = tmp_path / ".env.prod"
    path.write_text("\ufeffA=ok\n", encoding="utf-8")
    path.chmod(0o600)
    assert secrets.read(path, tmp_path / "none") == {"A": "ok"}
    assert secrets.names(path) == {"A"}
