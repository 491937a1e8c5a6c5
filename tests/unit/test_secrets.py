"""What is known of secrets without showing one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import secrets
from deploy.errors import Refused
from deploy.hosts.local import LocalHost

VALUES = st.dictionaries(st.text("ABC", min_size=1), st.text(st.characters(exclude_categories=["Cs"])), min_size=1)


@pytest.mark.parametrize("value", ["", " ", "change-me", "ChangeMe", "TODO", "<random db>", "password"])
def test_a_placeholder_is_refused_by_name_only(value: str) -> None:
    assert secrets.mistakes({"TOKEN": value, "GOOD": "s3cr3t"}, {}) == ["TOKEN still holds a placeholder"]


@pytest.mark.parametrize("key", ["A B", "A:B", "A=B", "1A", "Ä", "A\nB"])
def test_a_name_that_compose_reads_otherwise_is_refused(key: str) -> None:
    assert secrets.mistakes({key: "hunter2", "A_b-c.D1": "s3cr3t"}, {}) == [f"`{key}` is no name of a variable"]


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
    (b"A=ok\n\nEXTRA='it is\nC=y\n=z\n", "line 3\n    line 5"), ("A=ok\nB=\u00e9".encode("latin-1"), "is not UTF-8"),
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
