"""Metric points from CSV with the columns `timestamp` and `value`."""

from __future__ import annotations

from collections.abc import Iterator

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build, read_time
from neo_polystore.loaders.csv_rows import csv_rows
from neo_polystore.loaders.source import FileProblem, Source
from neo_polystore.records.metrics import MetricPoint

COLUMNS = ("timestamp", "value")


def points(source: Source, options: LoadOptions) -> Iterator[Item]:
    """One series per file: `--service`, and `--name` or the file's name without its ending.

    Times are ISO 8601 (UTC where no zone is given) or Unix seconds. A file with other columns is
    refused: they may be what tells two points of the same time apart.
    """
    name = options.name or source.path.name.removesuffix(".gz").rpartition(".")[0]
    for row in csv_rows(source, COLUMNS):
        if isinstance(row, BadRecord):
            yield row
            continue
        if len(row.cells) > len(COLUMNS):
            extra = next(column for column in row.cells if column not in COLUMNS)
            raise FileProblem("has columns other than timestamp and value", field=extra)
        try:
            time = read_time(row.cells["timestamp"])
        except ValueError as error:
            yield BadRecord(row.number, "timestamp", str(error))
            continue
        data = {
            "time": time,
            "service": options.service,
            "name": name or source.path.name,
            "value": row.cells["value"].strip(),
        }
        yield build(MetricPoint, data, row.number, {"time": "timestamp"})
