"""Options that several `db` commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be, change nothing.")]
OneStore = Annotated[
    str | None, typer.Option("--store", metavar="NAME", help="Only this store, as in `routes`.")
]
