"""Metric points from files in InfluxDB line protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build
from neo_polystore.loaders.source import FileProblem, Source
from neo_polystore.protocols.limits import Naming
from neo_polystore.protocols.line_protocol import read_lines
from neo_polystore.records.metric_columns import EPOCH
from neo_polystore.records.metrics import MetricPoint

MOST: Final = 64 * 2**20
"""Bytes of a file, which is read as a whole because a string may go over lines."""

_LINE: Final = re.compile(r"(?:\s*+(?:#[^\n]*+\n)?)*+[^,\s#][^\n\s]*+ +[^\n\s=]++=[^\n]")


def looks_like(text: str) -> bool:
    """The first line that is no comment has a measurement, a space and a field."""
    return _LINE.match(text) is not None


def lines(source: Source, options: LoadOptions) -> Iterator[Item]:
    """The points of every line, times in nanoseconds; records are numbered by their line.

    The service is the tag `service` or `job`, else `--service`, else `unknown`.
    """
    pieces, size = [], 0
    for piece in source.chunks():
        size += len(piece)
        if size > MOST:
            raise FileProblem(f"has more than {MOST >> 20} MiB of lines: cut it into several")
        pieces.append(piece)
    now = (options.now - EPOCH) // timedelta(microseconds=1)
    found = read_lines(b"".join(pieces), Naming(), now=now, default=options.service or "")
    items: list[Item] = [BadRecord(bad.number, "record", bad.reason) for bad in found.bad]
    columns = found.columns
    for line, number, time, value in zip(
        found.numbers.tolist(),
        columns.numbers.tolist(),
        columns.times.tolist(),
        columns.values.tolist(),
        strict=True,
    ):
        series = columns.series[number]
        try:
            at = EPOCH + timedelta(microseconds=time)
        except OverflowError:
            items.append(BadRecord(line, "time", "stands outside of the years 1 to 9999"))
            continue
        data = {"time": at, "service": series.service, "name": series.name, "value": value}
        items.append(build(MetricPoint, {**data, "tags": dict(series.tags)}, line))
    yield from sorted(items, key=lambda item: item.number)
