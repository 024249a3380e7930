"""What every command shares: how it runs, how it prints, how it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neo_polystore.cli.text import cell
from neo_polystore.errors import PolystoreError

T = TypeVar("T")

console = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON in place of a table.")]


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; a PolystoreError becomes a message and an exit code.

    Exit codes: 0 done, 1 the work failed, 2 wrong usage, 3 a store is unavailable.
    """
    try:
        return asyncio.run(work)
    except PolystoreError as error:
        raise fail(error) from None


def fail(error: PolystoreError) -> typer.Exit:
    """Print the error for a person and give the exit to raise."""
    err.print(f"[red]error:[/red] {escape(str(error))}")
    return typer.Exit(error.exit_code)


def print_json(data: Any) -> None:
    """Print one JSON value to standard output, dates in ISO 8601, unknown types as text."""
    sys.stdout.write(
        orjson.dumps(data, default=_default, option=orjson.OPT_INDENT_2).decode() + "\n"
    )


def print_rows(rows: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    """Print rows as a table of these columns, or all of them as JSON."""
    if as_json:
        print_json(rows)
        return
    if not rows:
        console.print("nothing to show")
        return
    table = Table()
    for name in columns:
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(cell(row[name])) for name in columns))
    console.print(table)


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
