"""What people see of steps, and what GitHub Actions reads of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core import console

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin outside Actions, with no step done."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    console.DONE.clear()
    yield
    console.DONE.clear()


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")


def work() -> None:
    with console.step("migrate [x]", within=5) as shown:
        shown.line("first")
        shown.word("word")
        shown.line("second")
    with console.step("quiet"):
        pass


def untimed(text: str) -> list[str]:
    return [line.rpartition("  ")[0] if line.endswith(" s") else line for line in text.splitlines()]


def test_details_are_indented_and_a_step_ends_in_one_line(capsys: Printed) -> None:
    work()
    printed = capsys.readouterr()
    assert untimed(printed.err) == ["    first", "    second", " ok migrate [x]", " ok quiet"]
    assert printed.out == ""


@pytest.mark.usefixtures("actions")
def test_in_actions_only_a_step_with_details_has_a_group(capsys: Printed) -> None:
    work()
    printed = capsys.readouterr()
    grouped = [
        "::group::migrate [x]",
        "    first",
        "    word",
        "    second",
        "::endgroup::",
        " ok migrate [x]",
        " ok quiet",
    ]
    assert untimed(printed.err) == grouped
    assert printed.out == ""


@pytest.mark.usefixtures("actions")
def test_a_group_of_a_step_that_fails_is_closed(capsys: Printed) -> None:
    def fail() -> None:
        with console.step("a") as shown:
            shown.line("b")
            raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"):
        fail()
    assert untimed(capsys.readouterr().err) == ["::group::a", "    b", "::endgroup::", "  x a"]


@pytest.mark.usefixtures("actions")
def test_the_error_is_one_annotation_with_its_lines_escaped(capsys: Printed) -> None:
    console.fail("100% of it\r\n  next: inv doctor")
    *shown, annotation = capsys.readouterr().err.splitlines()
    assert annotation == "::error::100%25 of it%0D%0A  next: inv doctor"
    assert "  next: inv doctor" in shown


@pytest.mark.usefixtures("actions")
@pytest.mark.parametrize("line", ["::stop-commands::x", "  ::add-mask::x", "a\n::error::x", "b ##[error]x"])
def test_what_others_print_is_no_workflow_command(line: str, capsys: Printed) -> None:
    with console.step("s") as shown:
        shown.line(line)
    console.say(line)
    console.warn(line)
    own = ("::group::s", "::endgroup::")
    others = [shown for shown in capsys.readouterr().err.splitlines() if shown not in own]
    assert not [shown for shown in others if shown.lstrip().startswith("::") or "##[" in shown]


@pytest.mark.usefixtures("actions")
@pytest.mark.parametrize("names", [["backend"], ["backend", "edge"]])
@pytest.mark.parametrize("line", ["::add-mask::a", "  ::stop-commands::x", "x ##[error]y"])
def test_what_services_say_is_no_workflow_command(line: str, names: list[str], capsys: Printed) -> None:
    console.lines(names)("backend", line)
    shown = capsys.readouterr().out
    assert not shown.lstrip().startswith("::")
    assert "##[" not in shown


@pytest.mark.usefixtures("actions")
@pytest.mark.parametrize("cell", ["a\n::stop-commands::x.sh", "::add-mask::a", "a ##[error]b"])
def test_the_name_of_a_file_in_a_table_is_no_workflow_command(cell: str, capsys: Printed) -> None:
    """As somebody's pull request brings it, and `inv scan` finds something in it."""
    console.table(["", "where"], [["", cell]])
    shown = capsys.readouterr().out
    assert not [line for line in shown.splitlines() if line.lstrip().startswith("::") or "##[" in line]


def test_outside_actions_text_stays_as_it_is(capsys: Printed) -> None:
    console.fail("::error::x ##[y] redis:key:1")
    assert capsys.readouterr().err == "::error::x ##[y] redis:key:1\n"
    console.lines(["backend"])("backend", "::error::x ##[y]")
    assert capsys.readouterr().out == "::error::x ##[y]\n"


def test_colours_forced_upon_a_log_move_nothing(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.step("s", within=9):
        console.say("meanwhile")
    output = capsys.readouterr().err
    assert "of 9 s" not in output
    assert "\x1b[?25l" not in output  # the cursor is hidden while something moves


def test_the_summary_lists_facts_and_steps_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "summary.md"
    page.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    with console.step("run a|b"):
        pass
    with pytest.raises(ValueError, match="oh"), console.step("bad\n<b>"):
        raise ValueError("oh")
    console.summary("shop-local: it *failed*", {"error": "[x](y)\n# z", "release": "r1"})
    lines = page.read_text().splitlines()
    assert lines[0] == "before"
    assert r"### shop-local: it \*failed\*" in lines
    assert r"- error: \[x\]\(y\) \# z" in lines
    assert r"| run a\|b | ok | 0.0 s |" in lines
    assert r"| bad \<b\> | x | 0.0 s |" in lines
    console.summary("next", {})
    assert page.read_text().count("run a") == 1


def test_a_summary_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    console.summary("t", {})
    assert "the step summary was not written" in capsys.readouterr().err


def test_a_table_shows_its_cells_as_they_are(capsys: Printed) -> None:
    console.table(["", "mend"], [["missing", "put it into [variables] of [hosts], or [/x]"]])
    assert "missing  put it into [variables] of [hosts], or [/x]" in capsys.readouterr().out
