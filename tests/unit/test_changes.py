"""What a release changes is told by names, never by values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.config import secrets
from deploy.release import changes
from deploy.state.store import Bundle
from tests.support.samples import release

FILE = "services:\n  backend-blue:\n    image: sha256:{0}\n    environment: {{RELEASE: {0}, DEBUG: '{1}'}}\n    labels: {{r: {0}}}\n"


def bundle(name: str, debug: str = "no", env: str = 'A="1"\n', edge: str = "listen 80;", revision: str = "c") -> Bundle:
    found = release(name).model_copy(update={"revision": revision})
    return Bundle(found, {"blue.yml": FILE.format(name, debug), "routes.blue.conf": f"# {name}\n{edge}"}, env)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (bundle("r2"), ()),
        (bundle("r2", revision="d"), ("code: c -> d",)),
        (bundle("r2", debug="hunter2"), ("settings: backend.environment.DEBUG changed",)),
        (bundle("r2", env='A="hunter2"\nB="x"\n'), ("secrets: B new", "secrets: A changed")),
        (bundle("r2", env=""), ("secrets: A gone",)),
        (bundle("r2", edge="listen 81;"), ("the edge's configuration",)),
    ],
)
def test_what_a_release_changes(after: Bundle, expected: tuple[str, ...]) -> None:
    assert changes.between(bundle("r1"), after) == expected


@pytest.mark.parametrize("end", ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_part_of_a_value_reads_like_a_key(end: str) -> None:
    after = bundle("r2", env=secrets.render({"A": f"first{end}hunter2=last"}))
    assert changes.between(bundle("r1", env=""), after) == ("secrets: A new",)


@given(st.dictionaries(st.from_regex(r"\A[A-Z]{3,6}\Z"), st.text(min_size=20, max_size=30), min_size=1))
def test_no_value_is_ever_told(values: dict[str, str]) -> None:
    output = " ".join(changes.between(bundle("r1", env=""), bundle("r2", env=secrets.render(values))))
    assert all(key in output for key in values)
    assert not any(value in output for value in values.values())
