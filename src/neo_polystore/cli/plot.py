"""Draws a line of points as text: braille dots between two labelled axes, gaps left empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from neo_polystore.records.metric_answer import Value
from neo_polystore.records.metric_query import EPOCH

_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""The bits of a braille character's dots, by column and row (Unicode, block Braille Patterns)."""

_LABEL: Final = 8
"""Characters of a label of the value axis."""

STEPS: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (
        *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
        *(hours * 3600 for hours in (1, 2, 3, 6, 12)),
        *(days * 86400 for days in (1, 2, 7, 14, 28, 91, 182, 364, 1820, 3640)),
    )
)
"""Lengths of time that read well, for buckets and for ticks."""


def plot_step(length: timedelta, width: int) -> timedelta:
    """The step that gives a range about two points per character of a plot `width` wide."""
    return at_least(length / (2 * max(width - _LABEL - 1, 1)))


def at_least(length: timedelta) -> timedelta:
    """The shortest of `STEPS` that is not shorter."""
    return next((step for step in STEPS if step >= length), STEPS[-1])


def plot(
    times: Sequence[datetime],
    values: Sequence[Value],
    *,
    since: datetime,
    until: datetime,
    step: timedelta,
    width: int,
    height: int,
) -> list[str]:
    """The lines of a plot, `width` characters wide, over `height` lines and two of the time axis.

    Points that are one step apart are joined; where one is missing, null or infinite, the line
    is broken.
    """
    columns = max(width - _LABEL - 1, 10)
    points = [
        (time, float(value))
        for time, value in zip(times, values, strict=True)
        if value is not None and math.isfinite(value)
    ]
    low, high, ticks = value_axis([value for _, value in points], height)
    dots = [[0] * columns for _ in range(height)]

    def place(time: datetime, value: float) -> tuple[int, int]:
        across = (time - since) / (until - since) * (2 * columns)
        up = (value - low) / (high - low) * (4 * height - 1)
        return min(int(across), 2 * columns - 1), 4 * height - 1 - round(up)

    def dot(x: int, y: int) -> None:
        dots[y // 4][x // 2] |= _DOTS[x % 2][y % 4]

    for time, value in points:
        dot(*place(time, value))
    for (before, first), (after, second) in pairwise(points):
        if after - before < 1.5 * step:
            _join(place(before, first), place(after, second), dot)
    labels = {round((high - tick) / (high - low) * (height - 1)): short(tick) for tick in ticks}
    lines = [
        f"{labels.get(row, ''):>{_LABEL}}{'┤' if row in labels else '│'}"
        + "".join(chr(0x2800 + cell) if cell else " " for cell in line).rstrip()
        for row, line in enumerate(dots)
    ]
    return [*lines, *_time_axis(since, until, columns)]


def value_axis(values: Sequence[float], height: int) -> tuple[float, float, list[float]]:
    """The ends of an axis that has room for the values, and the round ones at which it has ticks.

    The ticks are 1, 2 or 5 times a power of ten apart, and the ends are ticks.
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    wanted = (high - low) / max(min(height // 2, 6) - 1, 1)
    power = 10.0 ** math.floor(math.log10(wanted)) if wanted > 0 else 1.0
    gap = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= wanted * 0.999)
    first, last = math.floor(low / gap), math.ceil(high / gap)
    return first * gap, last * gap, [number * gap for number in range(first, last + 1)]


def short(value: float) -> str:
    """A number in at most 8 characters: `1.5k`, `20M`, `0.002`."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < size * 1000:
            return f"{value / size:.4g}{unit}"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.1e}"
    return f"{value:.4g}"


def _join(start: tuple[int, int], end: tuple[int, int], dot: Callable[[int, int], None]) -> None:
    (x, y), (other_x, other_y) = start, end
    count = max(abs(other_x - x), abs(other_y - y))
    for number in range(1, count):
        part = number / count
        dot(round(x + (other_x - x) * part), round(y + (other_y - y) * part))


def _time_axis(since: datetime, until: datetime, columns: int) -> list[str]:
    """The axis and the labels below it: times within a day, dates where a day begins."""
    longest = 12 if until - since > timedelta(days=365) else 7
    gap = at_least((until - since) * longest / columns)
    axis, labels = ["─"] * columns, [" "] * (columns + _LABEL + 1)
    tick = EPOCH + -((EPOCH - since) // gap) * gap
    while tick < until:
        column = int((tick - since) / (until - since) * columns)
        text = _time_label(tick, gap)
        axis[column] = "┬"
        # below the tick, but inside of the plot
        start = min(max(_LABEL + 1 + column - len(text) // 2, 0), len(labels) - len(text))
        labels[start : start + len(text)] = text
        tick += gap
    return [" " * _LABEL + "└" + "".join(axis), "".join(labels).rstrip()]


def _time_label(tick: datetime, gap: timedelta) -> str:
    if gap >= timedelta(days=91):
        return f"{tick:%Y-%m-%d}"
    if gap >= timedelta(days=1) or (tick.hour, tick.minute, tick.second) == (0, 0, 0):
        return f"{tick:%m-%d}"
    return f"{tick:%H:%M}" if gap >= timedelta(minutes=1) else f"{tick:%M:%S}"
