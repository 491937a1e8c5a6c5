"""Charts as SVG paths and the few words around them. Pure.

The drawing is stretched to the width that a screen has; words stand next to it as text, so that they stay readable.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

WIDTH, HEIGHT = 1000.0, 100.0  # of the drawing, in its own units
COLOURS = 8  # that the page has for series
FEW = 5  # ticks of time
NEAR = 0.05  # of the width: two numbers of marks that are nearer would cover each other
BYTES = {"PB": 1024.0**5, "TB": 1024.0**4, "GB": 1024.0**3, "MB": 1024.0**2, "kB": 1024.0, "B": 1.0}
SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0, "s": 1.0, "ms": 0.001}
SCALES = {"bytes": tuple(BYTES.values()), "s": tuple(SECONDS.values())}
LEAST = {"": 2.0, "bool": 1.0, "share": 0.01, "bytes": 1024.0, "s": 0.001, "/s": 0.1}  # the lowest top of a scale


@dataclass(frozen=True)
class Window:
    """The time that a page shows, in seconds since 1970, and the seconds between two points."""

    start: float
    end: float
    step: float

    def place(self, time: float) -> float:
        """Return where a time is, from 0 at the beginning to 1 at the end."""
        return (time - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class Series:
    """One line of a chart: its name, and its finite values by time."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Mark:
    """Something that was done: when, its number in the table, and what."""

    time: float
    number: int
    text: str


@dataclass(frozen=True)
class Line:
    """A series as it is drawn: path, area where it is alone, number of its colour, last and highest value."""

    name: str
    path: str
    area: str
    colour: int
    last: str
    highest: str


@dataclass(frozen=True)
class Tick:
    """A word next to the drawing, and where it stands, in percent."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One panel as the page shows it."""

    title: str
    lines: tuple[Line, ...]
    levels: tuple[Tick, ...]
    times: tuple[Tick, ...]
    marks: tuple[Tick, ...]
    numbers: tuple[Tick, ...]


def chart(title: str, unit: str, series: Sequence[Series], window: Window, marks: Sequence[Mark]) -> Chart:
    """Lay out one panel."""
    top = ceiling(max((value for one in series for _, value in one.points), default=0.0), unit)
    ordered = sorted(series, key=lambda one: -(one.points[-1][1] if one.points else 0.0))
    lines = tuple(line(number, one, window, top, unit, len(series)) for number, one in enumerate(ordered))
    shares = (0.0, 1.0) if unit == "bool" else (0.0, 0.5, 1.0)
    levels = tuple(Tick(100 - 100 * share, written(top * share, unit)) for share in shares)
    places = [(mark, 100 * window.place(mark.time)) for mark in marks if 0 <= window.place(mark.time) <= 1]
    return Chart(
        title, lines, levels, tuple(times(window)),
        tuple(Tick(at, mark.text) for mark, at in places), tuple(numbers(places)),
    )  # fmt: skip


def line(number: int, series: Series, window: Window, top: float, unit: str, among: int) -> Line:
    """Lay out one series."""
    drawn = [[place(point, window, top) for point in part] for part in unbroken(series.points, window.step)]
    values = [value for _, value in series.points]
    last = written(values[-1], unit) if values else "-"
    return Line(
        series.name, " ".join(map(stroke, drawn)), " ".join(map(area, drawn)) if among == 1 else "", number % COLOURS,
        last, written(max(values), unit) if values else "-",
    )  # fmt: skip


def stroke(part: Sequence[tuple[float, float]]) -> str:
    """Return the path through points; one that is alone is a dot, as the ends of lines are round."""
    return "M" + " L".join(f"{x:.1f},{y:.1f}" for x, y in part) + (" h0" if len(part) == 1 else "")


def area(part: Sequence[tuple[float, float]]) -> str:
    """Return the path around what is below points."""
    return f"M{part[0][0]:.1f},{HEIGHT:g} L{stroke(part)[1:]} L{part[-1][0]:.1f},{HEIGHT:g} Z"


def unbroken(points: Sequence[tuple[float, float]], step: float) -> Iterator[list[tuple[float, float]]]:
    """Split points where one or more are missing."""
    part: list[tuple[float, float]] = []
    for point in points:
        if part and point[0] - part[-1][0] > 1.5 * step:
            yield part
            part = []
        part.append(point)
    if part:
        yield part


def place(point: tuple[float, float], window: Window, top: float) -> tuple[float, float]:
    """Return where a point is in the drawing."""
    return WIDTH * window.place(point[0]), HEIGHT * (1 - min(max(point[1] / top, 0.0), 1.0))


def ceiling(highest: float, unit: str) -> float:
    """Return the top of a scale that begins at 0: 1, 2 or 5 times a power of ten of what the scale is written in."""
    least = LEAST[unit]
    if highest <= least:
        return least
    if unit == "share" and highest > 0.2:
        return 1.0
    base = max((length for length in SCALES.get(unit, ()) if length <= highest), default=1.0)
    power = base * 10.0 ** math.floor(math.log10(highest / base))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= highest * 0.999)


def times(window: Window) -> Iterator[Tick]:
    """Yield a few times of day, or days where the window is longer than two of them."""
    shape = "%H:%M" if window.end - window.start <= 2 * 86400 else "%d %b"
    for number in range(FEW):
        share = number / (FEW - 1)
        moment = datetime.fromtimestamp(window.start + share * (window.end - window.start), UTC)
        yield Tick(100 * share, moment.strftime(shape))


def numbers(places: Sequence[tuple[Mark, float]]) -> Iterator[Tick]:
    """Yield the numbers of marks, the latest first; one that would cover another is left out."""
    taken: list[float] = []
    for mark, at in sorted(places, key=lambda one: -one[1]):
        if all(abs(at - other) > 100 * NEAR for other in taken):
            taken.append(at)
            yield Tick(at, str(mark.number))


def written(value: float, unit: str) -> str:
    """Write a value with its unit, as few digits as tell it apart."""
    if unit == "bool":
        return "yes" if value >= 1 else "no"
    if unit == "share":
        return f"{digits(100 * value)} %"
    names = {"bytes": BYTES, "s": SECONDS}.get(unit)
    if not names:
        return f"{digits(value)}{unit}"
    plain = {"bytes": "B", "s": "s"}[unit]
    name = next((name for name, length in names.items() if abs(value) >= length), plain)
    return f"{digits(value / names[name])} {name}"


def digits(value: float) -> str:
    """Write a number with three digits that mean something, thousands apart."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{1 if abs(value) >= 10 else 2}f}".rstrip("0").rstrip(".")
