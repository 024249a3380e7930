"""The command `neo-polystore`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import typer

from neo_polystore import __version__
from neo_polystore.cli.lazy import Place, group_of
from neo_polystore.ops import log_setup

COMMANDS: Final[Mapping[str, Place]] = {
    "serve": Place("serve", "serve"),
    "demo": Place("demo", "demo"),
    "drill": Place("drill", "drill"),
    "load": Place("load", "load"),
    "query": Place("query", "query"),
    "routes": Place("routes", "routes"),
    "health": Place("health", "health"),
    "settings": Place("settings", "settings"),
    "db": Place("db"),
    "migrations": Place("db", "migrations", hidden=True),
    "database": Place("db", "database", hidden=True),
    "store": Place("store"),
    "metrics": Place("metrics"),
    "limits": Place("limits"),
    "outbox": Place("outbox"),
    "retention": Place("retention"),
    "hold": Place("hold"),
    "scheduler": Place("scheduler"),
    "audit": Place("audit"),
    "sealed": Place("sealed"),
    "attest": Place("attest"),
    "auth": Place("auth"),
    "backup": Place("base"),
    "restore": Place("restore_to"),
    "wal": Place("wal"),
}

app = typer.Typer(
    name="neo-polystore",
    cls=group_of(COMMANDS),
    help="One storage facade over many stores. Every command takes --json and answers with exit"
    " code 0 (done), 1 (the work failed), 2 (wrong usage) or 3 (a store is unavailable).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neo-polystore {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One storage facade over many stores."""
    log_setup.warnings_only()


def main() -> None:
    """Entry point of the console script."""
    app()
