"""What is written in YAML is read as it was meant, and what people write is read as Compose reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.core import yaml

# texts that some reader takes for a number, a time, a boolean, nothing, or a part of YAML
TRAPS = (
    "0891", "08", "010", "1659280117e7", "1e999", "9" * 400, "0o17", "0x1F", "0b1", "1_000", "+_", "._", "22:22",
    "12:30:45",
    "2001-01-01", "2001-99-99", ".inf", "-.NaN", "yes", "No", "on", "OFF", "y", "n", "true", "False", "null", "~", "",
    "=", "<<", "-", "?",
    "a: b", "a #b", " a ", "a\n", "a\nb", "\n", "\t", "\r", "\x85", "\u2028", "\ufeffx", "\x7f", "\U0001f600", "$HOME",
    "$$", "${X:-y}", "*a", "&a", "!reset", "%", "@", "`", "[a]", "{a}", "'", '"', "\\", "|", ">", "---", "...",
)  # fmt: skip
TEXT = st.one_of(
    st.sampled_from(TRAPS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.from_regex(r"[-+.0-9eE_:xob]{1,9}\Z"),
)
PLAIN = st.one_of(TEXT, st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False))
DOCUMENT = st.dictionaries(
    TEXT, st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=6)
)


@given(DOCUMENT)
def test_what_is_written_is_read_as_it_was_meant(document: dict[str, Any]) -> None:
    assert repr(yaml.load(yaml.dump(document))) == repr(sort(document))
    assert repr(yaml.load_rendered(yaml.dump_rendered(document))) == repr(sort(document))


@pytest.mark.parametrize("text", TRAPS, ids=ascii)
def test_a_text_is_always_in_quotes(text: str) -> None:
    """No schema gives a meaning to what stands in quotes, so that no other reader can take it for more than a text."""
    line = yaml.dump([text])
    assert (line[:3], line[-2:], line.count("\n")) == ('- "', '"\n', 1)
    assert yaml.dump({text: 1}).lstrip("? ").startswith('"')


def test_names_are_written_without_quotes_and_in_order() -> None:
    assert yaml.dump({"services": {"app-blue": {"scale": 2, "image": "x", "init": True}}, "name": "n"}) == (
        'name: "n"\nservices:\n  app-blue:\n    image: "x"\n    init: true\n    scale: 2\n'
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("08", 8),
        ("+08", 8),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("12e45", 12e45),
        ("1e999", "1e999"),
        ("9" * 400, "9" * 400),
        (".inf", float("inf")),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("22:22", "22:22"),
        ("2001-01-01", "2001-01-01"),
        ("+_", "+_"),
        ("._", "._"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("TRUE", True),
        ("~", None),
        ("", None),
        ("=", "="),
        ("<<", "<<"),
        ("!!str 8", "8"),
        ("!reset 8", None),
        ("!override 8", 8),
        ("!override '8'", "8"),
        ("!override [8]", [8]),
        ("!override {a: null}", {"a": None}),
        ("!override null", None),
    ],
)
def test_a_plain_word_is_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert repr(yaml.load(f"a: {text}\n")) == repr({"a": value})


def test_what_people_write_may_be_merged_and_what_compose_writes_is_not() -> None:
    text = "x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\nz: {<<: [*x, {c: 3}]}\n"
    assert yaml.load(text) == {"x": {"a": 1, "b": 1}, "y": {"a": 1, "b": 2}, "z": {"a": 1, "b": 1, "c": 3}}
    assert yaml.load_rendered("labels:\n  <<: z\n") == {"labels": {"<<": "z"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [", "line 2"),
        ("a: hunter2\nb: 1\na: hunter2", "the key a stands twice, line 3"),
        ("a: b: hunter2", "line 1"),
        ("a: !!bool hunter2", "a value is not what its tag says"),
        ("a: !!int hunter2", "a value is not what its tag says"),
        ("[" * 1500, "nested too deeply"),
        ("a: \x07", "special characters are not allowed"),
        ("a: *b", "undefined alias"),
        ("? {a: b}\n: c", "line 1"),
    ],
)
def test_what_is_not_yaml_is_refused_by_line_and_no_value_is_shown(text: str, message: str) -> None:
    with pytest.raises(yaml.NotYaml, match=message) as refused:
        yaml.load(text)
    assert "hunter2" not in str(refused.value)


def test_json_is_yaml() -> None:
    document = {"a": ["0891", 8, None, True, "\u00e9"], "b": {}}
    assert yaml.load(json.dumps(document)) == document


def sort(value: Any) -> Any:
    """Return a document with its keys in the order in which they are written."""
    if isinstance(value, dict):
        return {key: sort(value[key]) for key in sorted(value)}
    return [sort(item) for item in value] if isinstance(value, list) else value
