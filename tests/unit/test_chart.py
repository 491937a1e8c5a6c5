"""Charts: scales, gaps, marks, and what is written beside them."""

from __future__ import annotations

import pytest

from deploy.monitoring import chart, series
from deploy.monitoring.chart import Mark, Series, Window
from deploy.monitoring.panels import Panel

HOUR = Window(0, 3600, 60)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0, "", "0"), (12345, "", "12,345"), (1.5, "", "1.5"), (1, "bool", "yes"), (0, "bool", "no"),
        (0.1234, "share", "12.3 %"), (0, "share", "0 %"), (3.456, "/s", "3.46/s"), (0, "bytes", "0 B"),
        (3 * 1024**3, "bytes", "3 GB"), (1500, "bytes", "1.46 kB"), (0.0123, "s", "12.3 ms"), (0, "s", "0 s"),
        (90, "s", "1.5 min"), (7200, "s", "2 h"), (200000, "s", "2.31 d"), (0.00001, "s", "0 s"),
    ],
)  # fmt: skip
def test_values_are_written_in_their_largest_unit(value: float, unit: str, words: str) -> None:
    assert chart.written(value, unit) == words


@pytest.mark.parametrize(
    ("highest", "unit", "top"),
    [
        (0, "", 2), (1, "", 2), (3, "", 5), (7, "", 10), (37, "/s", 50), (0.0, "share", 0.01), (0.03, "share", 0.05),
        (0.4, "share", 1), (1, "bool", 1), (3 * 1024**2, "bytes", 5 * 1024**2), (0.013, "s", 0.02), (20000, "s", 36000),
    ],
)  # fmt: skip
def test_a_scale_ends_at_a_round_number(highest: float, unit: str, top: float) -> None:
    assert chart.ceiling(highest, unit) == pytest.approx(top)


def drawn(*series: Series, marks: tuple[Mark, ...] = ()) -> chart.Chart:
    return chart.chart("Requests", "/s", series, HOUR, marks)


def test_a_line_ends_where_points_are_missing_and_begins_again() -> None:
    (line,) = drawn(Series("2xx", ((0, 1), (60, 1), (600, 1), (660, 0.5)))).lines
    assert line.path == "M0.0,0.0 L16.7,0.0 M166.7,0.0 L183.3,50.0"
    assert line.area.count("Z") == 2
    assert (line.last, line.highest) == ("0.5/s", "1/s")


def test_a_point_that_is_alone_is_seen() -> None:
    (line,) = drawn(Series("2xx", ((3600, 1),))).lines
    assert line.path == "M1000.0,0.0 h0"


def test_only_a_line_that_is_alone_is_filled_and_the_greatest_comes_first() -> None:
    lines = drawn(Series("a", ((0, 1),)), Series("b", ((0, 9),)), Series("none", ())).lines
    assert [(line.name, line.area, line.last) for line in lines] == [
        ("b", "", "9/s"),
        ("a", "", "1/s"),
        ("none", "", "-"),
    ]


def test_every_deploy_is_marked_and_numbers_do_not_cover_each_other() -> None:
    marks = (Mark(-5, 1, "before"), Mark(1800, 2, "deploy"), Mark(1830, 3, "again"), Mark(3600, 4, "last"))
    own = drawn(marks=marks)
    assert [(mark.at, mark.text) for mark in own.marks] == [
        (50.0, "deploy"), (pytest.approx(50.83, abs=0.01), "again"), (100.0, "last")
    ]  # fmt: skip
    assert [number.text for number in own.numbers] == ["4", "3"]


def test_words_of_a_scale_and_of_times() -> None:
    own = drawn(Series("2xx", ((0, 37),)))
    assert [tick.text for tick in own.levels] == ["0/s", "25/s", "50/s"]
    assert [tick.text for tick in own.times] == ["00:00", "00:15", "00:30", "00:45", "01:00"]
    days = chart.chart("", "bool", (), Window(0, 4 * 86400, 60), ())
    assert [tick.text for tick in days.times][:2] == ["01 Jan", "02 Jan"]
    assert [tick.text for tick in days.levels] == ["no", "yes"]


def test_series_are_called_as_the_panel_says_and_what_is_no_number_is_left_out() -> None:
    panel = Panel("Deploys", "x", "{{command}}: {{outcome}}")
    matrix = [{"metric": {"command": "deploy", "outcome": "failed"}, "values": [[0, "1"], [60, "NaN"], [120, "+Inf"]]}]
    assert series.read(panel, matrix) == (Series("deploy: failed", ((0.0, 1.0),)),)


def test_a_page_has_no_more_points_than_a_screen_shows() -> None:
    assert series.window(3600, 1, 0) == Window(0, 3600, 12)
    assert series.window(0, 24 * 15, -30 * 86400).step == 4320


@pytest.mark.parametrize(("since", "minutes"), [(0, 60), (9000, 60), (14400 - 1800, 30), (14399, 15), (2e15, 15)])
def test_a_page_begins_where_there_is_data(since: float, minutes: int) -> None:
    own = series.window(14400, 1, since)
    assert ((own.end - own.start) / 60, own.end) == (minutes, 14400)
