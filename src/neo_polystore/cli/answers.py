"""How the answers of an engine's diagnostics are printed."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from neo_polystore.cli.output import console, print_json
from neo_polystore.cli.text import printable
from neo_polystore.stores.postgres.diagnostics import Answer, human_bytes

_HEADINGS = {
    "dead_percent": "dead %",
    "bytes": "size",
    "index_bytes": "indexes",
    "waits_seconds": "waits s",
    "longest_seconds": "longest s",
}
_STYLES = {"slow": "yellow", "degraded": "red"}


def show(
    answer: Answer, columns: tuple[str, ...], *, as_json: bool, empty: str = "nothing to report"
) -> None:
    if as_json:
        print_json(asdict(answer))
        return
    if answer.rows:
        console.print(table_of(answer, columns))
    else:
        console.print(empty)
    if answer.note:
        console.print(f"[dim]{escape(answer.note)}[/dim]")


def table_of(answer: Answer, columns: tuple[str, ...]) -> Table:
    """The rows under these columns; statements get the room that the other columns leave."""
    cells = [[_cell(column, row[column]) for column in columns] for row in answer.rows]
    has_statements = any(column.endswith("query") for column in columns)
    table = Table(expand=has_statements)
    for place, column in enumerate(columns):
        heading = _HEADINGS.get(column, column.replace("_", " "))
        is_text = any(isinstance(row[column], str) for row in answer.rows)
        if column.endswith("query"):
            table.add_column(heading, overflow="ellipsis", no_wrap=True, ratio=1)
        else:
            widest = max(len(heading), *(len(row[place]) for row in cells))
            table.add_column(
                heading,
                justify="left" if is_text else "right",
                overflow="fold",
                min_width=widest if has_statements else None,
            )
    for row, shown in zip(answer.rows, cells, strict=True):
        table.add_row(*map(escape, shown), style=_STYLES.get(str(row.get("state"))))
    return table


def _cell(column: str, value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else ""
        case int() if column.endswith("bytes"):
            return human_bytes(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.1f}"
        case datetime():
            return f"{value:%m-%d %H:%M}"
        case _:
            return printable(" ".join(str(value).split()))
