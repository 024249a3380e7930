"""Rows of a CSV file with a header line, as RFC 4180 has it but for line breaks in cells."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from neo_polystore.loaders.base import BadRecord
from neo_polystore.loaders.source import MAX_LINE, FileProblem, Source

csv.field_size_limit(MAX_LINE)  # byte codes are longer than the 128 KiB that csv allows by itself


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one data row by column; row n stands on line n + 1."""

    number: int
    cells: dict[str, str]


def csv_rows(source: Source, required: Sequence[str]) -> Iterator[Row | BadRecord]:
    """The data rows; blank lines are passed over but counted.

    Every line is a row of its own, so that one bad row never takes the next with it: a quoted
    cell must not contain a line break. Raises FileProblem for a header without all `required`.
    """
    lines = source.lines()
    header = _header(next(lines, b""), required)
    for number, line in enumerate(lines, 1):
        if line is None:
            yield BadRecord(number, "record", f"the line is longer than {MAX_LINE:,} bytes")
        elif line.strip():
            yield _row(number, line, header)


def _header(line: bytes | None, required: Sequence[str]) -> list[str]:
    try:
        header = [cell.strip() for cell in _cells((line or b"").decode())]
    except UnicodeDecodeError as error:
        raise FileProblem(f"not UTF-8: {_place(error)} of the header", field="header") from None
    except ValueError as error:
        raise FileProblem(f"the header is not CSV: {error}", field="header") from None
    if missing := [name for name in required if name not in header]:
        names = ", ".join(missing)
        raise FileProblem(
            f"the header lacks {'column' if len(missing) == 1 else 'columns'} {names}",
            field=missing[0],
        )
    if repeated := sorted({name for name in header if header.count(name) > 1}):
        raise FileProblem(
            f"the header names {', '.join(repeated)} more than once", field=repeated[0]
        )
    return header


def _row(number: int, line: bytes, header: list[str]) -> Row | BadRecord:
    try:
        cells = _cells(line.decode())
    except UnicodeDecodeError as error:
        before = line[: error.start].count(b",")  # a quoted comma may mislead, no more than that
        name = header[before] if before < len(header) else "record"
        return BadRecord(number, name, f"not UTF-8: {_place(error)} of the line")
    except ValueError as error:
        return BadRecord(number, "record", f"not CSV: {error}")
    if len(cells) != len(header):
        return BadRecord(number, "record", f"expected {len(header)} cells, got {len(cells)}")
    return Row(number, dict(zip(header, cells, strict=True)))


def _cells(text: str) -> list[str]:
    """The cells of one line; raises ValueError for quotes that do not close."""
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        reason = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        raise ValueError(reason) from None


def _place(error: UnicodeDecodeError) -> str:
    return f"byte {error.object[error.start]:#04x} at offset {error.start}"
