"""Commands as values."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.core import errors
from deploy.core.shell import Result, Secret, command, compose, docker, pipe, query

WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def test_a_command_reads_as_a_person_would_type_it() -> None:
    assert str(docker("run", "--rm", "a b", 3)) == "docker run --rm 'a b' 3"
    assert command("x", A="1").environment == {"A": "1"}


def test_compose_is_deaf_to_files_nearby() -> None:
    output = str(compose("p", "/f.yml", "up", "--detach"))
    assert output == "docker compose --project-name p --file /f.yml --env-file /dev/null up --detach"


@given(st.lists(WORDS, min_size=1))
def test_quoting_survives_any_string(words: list[str]) -> None:
    assert shlex.split(str(command(*words))) == words


@given(WORDS.filter(lambda word: len(word) > 3 and word not in "'***'"))
def test_a_secret_is_masked_wherever_it_is_shown(value: str) -> None:
    secret = Secret("s3" + value + "cr")
    shown = command("login", secret, PASSWORD=secret)
    failed = errors.CommandFailed(str(shown), 1, "", "here")
    for text in (
        str(secret),
        repr(secret),
        f"{secret:>40}",
        str(shown),
        repr(shown),
        str(failed),
        repr(failed),
        str([secret]),
    ):
        assert secret + "" not in text
    assert shown.argv[1] == "s3" + value + "cr"


def test_output_is_the_last_lines_of_the_stream_that_spoke() -> None:
    assert Result(1, "out", "").output == "out"
    assert Result(1, "out", "\n".join(map(str, range(40)))).output.splitlines() == [str(n) for n in range(25, 40)]


def test_a_pipe_reads_as_a_person_would_type_it_and_shows_no_secret() -> None:
    dump = docker("exec", "db", "pg_dump", "--password", Secret("hunter2"))
    joined = pipe(dump, command("gzip", "-9"), command("dd", "of=a b", LEVEL="1"))
    assert str(joined) == "docker exec db pg_dump --password *** | gzip -9 | dd 'of=a b'"
    assert "hunter2" not in repr(joined)
    assert "hunter2" in joined.argv[-1] + "", "and it is run"
    assert joined.programs == ("docker", "gzip", "dd")
    assert joined.environment == {"LEVEL": "1"}


def test_a_pipe_of_queries_is_one() -> None:
    assert command("x").changes
    assert not query("x").changes
    assert not pipe(query("x"), docker("logs", "y").as_query()).changes
    assert pipe(query("x"), command("y")).changes


def test_commands_of_a_pipe_agree_about_the_environment() -> None:
    with pytest.raises(ValueError, match="disagree about A"):
        pipe(command("x", A="1"), command("y", A="2"))
