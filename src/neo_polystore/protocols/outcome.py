"""What became of a request: how much was stored, and what was not and why, in words."""

from __future__ import annotations

from typing import Final

from neo_polystore.protocols.errors import Refused
from neo_polystore.protocols.line_protocol import BadLine, Lines
from neo_polystore.protocols.remote_write import Decoded
from neo_polystore.records.metric_columns import Integers, MetricColumns
from neo_polystore.records.results import Written

SHOWN: Final = 10
"""Reasons that a message names."""
MOST_LINES: Final = 100
"""Rejected lines that an answer lists."""

_LATE: Final = "too far in the future (NEO_INGEST_AHEAD_SECONDS)"


class RequestOutcome:
    """Of a remote write request."""

    def __init__(self) -> None:
        self.written = 0
        self._decoded: Decoded | None = None
        self._refused: list[Refused] = []

    def take(self, decoded: Decoded, late: Integers) -> None:
        """What was read, and the indexes of samples that are too far ahead."""
        self._decoded = decoded
        self._refused += decoded.refused
        self._refused += [Refused(self._named(index), 1, _LATE) for index in late.tolist()]

    def stored(self, kept: Integers, written: Written) -> None:
        """What the store says of the samples with the indexes `kept`."""
        self.written = len(kept) - len(written.rejected)
        for one in written.rejected:
            name = self._named(int(kept[one.index]))
            self._refused.append(Refused(name, 1, f"{one.field} {one.reason}"))

    def is_complete(self) -> bool:
        """Whether everything that was sent is stored."""
        decoded = self._decoded
        lost = decoded is not None and (decoded.histograms or decoded.exemplars)
        return not (lost or self._refused)

    def told(self) -> str:
        """How much of what was not stored, and why."""
        decoded = self._decoded
        parts = []
        if self._refused:
            points = sum(one.points for one in self._refused)
            some = [f"{one.where}: {one.reason}" for one in self._refused[:SHOWN]]
            if (more := len(self._refused) - SHOWN) > 0:
                some.append(f"and {more:,} more")
            parts.append(f"{points:,} samples refused ({'; '.join(some)})")
        if decoded is not None and decoded.histograms:
            parts.append(f"{decoded.histograms:,} native histograms: this store has none")
        if decoded is not None and decoded.exemplars:
            parts.append(f"{decoded.exemplars:,} exemplars: this store has none")
        return f"{self.written:,} samples stored; not stored: {', '.join(parts)}"

    def _named(self, index: int) -> str:
        if self._decoded is None:
            return ""
        series = self._decoded.columns.series[int(self._decoded.columns.numbers[index])]
        tags = ",".join(f"{key}={value}" for key, value in series.tags.items())
        return f"{series.service} {series.name}{{{tags}}}"[:200]


class LinesOutcome:
    """Of a body in line protocol."""

    def __init__(self, lines: Lines):
        self.columns: MetricColumns = lines.columns
        self.written = 0
        self._numbers = lines.numbers
        self._count = lines.count
        self._bad = list(lines.bad)

    def late(self, late: Integers) -> None:
        """The indexes of points that are too far ahead."""
        self._bad += [BadLine(number, _LATE) for number in self._numbers[late].tolist()]

    def stored(self, kept: Integers, written: Written) -> None:
        """What the store says of the points with the indexes `kept`."""
        self.written = len(kept) - len(written.rejected)
        for one in written.rejected:
            number = int(self._numbers[kept[one.index]])
            self._bad.append(BadLine(number, f"{one.field} {one.reason}"))

    def is_complete(self) -> bool:
        """Whether everything that was sent is stored."""
        return not self._bad

    def lines(self) -> list[dict[str, object]]:
        """The rejected lines with their reasons, at most `MOST_LINES`."""
        found = sorted(self._bad, key=lambda one: one.number)[:MOST_LINES]
        return [{"line": one.number, "reason": one.reason} for one in found]

    def told(self) -> str:
        """How many lines were rejected, which, and why."""
        rejected = len({one.number for one in self._bad})
        some = [f"line {one['line']}: {one['reason']}" for one in self.lines()[:SHOWN]]
        if (more := len(self._bad) - SHOWN) > 0:
            some.append(f"and {more:,} more")
        begin = "partial write" if self.written else "nothing written"
        return f"{begin}: {rejected:,} of {self._count:,} lines rejected: {'; '.join(some)}"
