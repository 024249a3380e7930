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


def _default(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, set | frozenset):
        return sorted(value)
    return str(value)
