"""`neo-polystore settings`: what is in force, secrets redacted."""

from __future__ import annotations

import os

from rich.table import Table

from neo_polystore.cli.output import JsonOption, console, fail, print_json
from neo_polystore.errors import PolystoreError
from neo_polystore.settings import Settings


def settings(as_json: JsonOption = False) -> None:
    """Show every setting, its value and where it comes from."""
    try:
        loaded = Settings.load()
    except PolystoreError as error:
        raise fail(error) from None
    values = loaded.redacted()
    if as_json:
        print_json(
            {name: str(value) if value is not None else None for name, value in values.items()}
        )
        return
    table = Table(title="Settings", title_justify="left")
    for heading in ("variable", "value", "from"):
        table.add_column(heading, overflow="fold")
    for name, value in values.items():
        table.add_row(name, "" if value is None else str(value), _origin(loaded, name))
    console.print(table)


def _origin(loaded: Settings, name: str) -> str:
    if any(key.upper() == name for key in os.environ):
        return "environment"
    return ".env" if name.lower() in loaded.model_fields_set else "default"
