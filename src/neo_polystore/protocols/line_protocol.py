"""InfluxDB line protocol to columns: what was seen before is looked up, not parsed again.

https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from neo_polystore.protocols.limits import Naming
from neo_polystore.protocols.line_values import TextError, number_of, time_of
from neo_polystore.protocols.line_words import (
    LineError,
    fields_of,
    measurement_of,
    plain,
    words_of,
)
from neo_polystore.records.metric_columns import Integers, MetricColumns, Series, problem_of

PRECISIONS: Final = {"ns": (1, 1000), "us": (1, 1), "ms": (1000, 1), "s": (1_000_000, 1)}
"""What to multiply and to divide a timestamp by to have microseconds."""

_FAR: Final = 2**62
"""Microseconds beyond any calendar."""


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or a field of one, that was not taken; lines count from 1."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Points as columns, the line that each came from, what was not taken, how many had a point."""

    columns: MetricColumns
    numbers: Integers
    bad: list[BadLine] = field(default_factory=list)
    count: int = 0


def read_lines(
    body: bytes, naming: Naming, *, precision: str = "ns", now: int, default: str = ""
) -> Lines:
    """Every line of a body; never raises for what is in it.

    A field `value` of measurement `m` is the metric `m`, any other field `f` is `m_f`. Numbers
    and booleans (1 and 0) are stored; a field of text is refused, the line's others are taken. A
    malformed line is refused as a whole. `now` (microseconds) is the time of lines without one,
    `default` the service where no tag names one. Nanoseconds are cut to microseconds.
    """
    reader = _Reader(naming, precision, now, default)
    text = body.split(b"\n")
    place = 0
    while place < len(text):
        number, following = place + 1, place + 1
        try:
            words, following = words_of(text, place)
            if words is not None:
                reader.take(number, *words)
        except LineError as error:
            reader.refuse(number, str(error))
        place = following
    return reader.lines()


class _Reader:
    def __init__(self, naming: Naming, precision: str, now: int, default: str):
        self._naming = naming
        self._default = default
        self._factor, self._divisor = PRECISIONS[precision]
        self._now = now // self._factor * self._factor
        self._series: list[Series] = []
        self._heads: dict[bytes, dict[bytes, int]] = {}
        self._numbers: list[int] = []
        self._times: list[int] = []
        self._values: list[float] = []
        self._lines: list[int] = []
        self._bad: list[BadLine] = []
        self._count = 0

    def take(self, line: int, head: bytes, fields: bytes, time: bytes) -> None:
        """The points of one line; raises LineError, with nothing taken."""
        known = self._heads.get(head)
        if known is None:
            known = self._heads[head] = {}
        at = self._microseconds(time) if time else self._now
        found: list[tuple[int, float]] = []
        texts: list[BadLine] = []
        for key, value in fields_of(fields):
            number = known.get(key)
            if number is None:
                number = known[key] = self._number(head, key)
            try:
                found.append((number, number_of(value)))
            except TextError as error:
                texts.append(BadLine(line, f"field {plain(key)!r}: {error}"))
        self._count += 1
        self._bad += texts
        for number, figure in found:
            self._numbers.append(number)
            self._values.append(figure)
            self._times.append(at)
            self._lines.append(line)

    def refuse(self, line: int, reason: str) -> None:
        """A line that is malformed."""
        self._count += 1
        self._bad.append(BadLine(line, reason))

    def lines(self) -> Lines:
        """Everything that was taken and refused."""
        columns = MetricColumns(
            self._series,
            np.array(self._numbers, dtype=np.int64),
            np.array(self._times, dtype=np.int64),
            np.array(self._values, dtype=np.float64),
        )
        return Lines(columns, np.array(self._lines, dtype=np.int64), self._bad, self._count)

    def _microseconds(self, time: bytes) -> int:
        return max(-_FAR, min(_FAR, time_of(time) * self._factor // self._divisor))

    def _number(self, head: bytes, key: bytes) -> int:
        measurement, tags = measurement_of(head)
        name = plain(key)
        metric = measurement if name == "value" else f"{measurement}_{name}"
        series = self._naming.series(metric, tags, default=self._default)
        if problem := problem_of(series):
            raise LineError(f"{problem[0]}: {problem[1]}")
        self._series.append(series)
        return len(self._series) - 1
