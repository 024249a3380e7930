"""`neo-polystore wal`: what PostgreSQL runs to archive WAL and to get it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from neo_polystore.cli.backup import TargetOption
from neo_polystore.cli.output import console, fail
from neo_polystore.errors import PolystoreError
from neo_polystore.pitr.access import access_of, write_access
from neo_polystore.pitr.command import main
from neo_polystore.settings import Settings

app = typer.Typer(help="Archived WAL, for PostgreSQL's own use.", no_args_is_help=True)

SettingsOption = Annotated[
    Path | None,
    typer.Option("--settings", help="File of `wal settings`; else the environment says it."),
]


@app.command()
def push(
    path: Annotated[str, typer.Argument(metavar="%p", help="The file, in the data directory.")],
    name: Annotated[str, typer.Argument(metavar="%f", help="Its name.")],
    settings: SettingsOption = None,
) -> None:
    """Store a WAL file durably, once: the archive_command."""
    _run("push", settings, path, name)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="%f", help="The name of the file.")],
    path: Annotated[str, typer.Argument(metavar="%p", help="Where it goes.")],
    settings: SettingsOption = None,
) -> None:
    """Get a WAL file back: the restore_command. Exit code 1 where there is no such file."""
    _run("fetch", settings, name, path)


@app.command("settings")
def settings_(
    path: Annotated[Path, typer.Argument(help="The file to write, mode 0600.")],
    target: TargetOption = None,
) -> None:
    """Write what push and fetch need to know, secrets included, for PostgreSQL's account."""
    try:
        write_access(path, access_of(Settings.load(), target))
    except PolystoreError as error:
        raise fail(error) from None
    console.print(f"archive_command = 'neo-polystore wal push --settings {path} %p %f'",
                  soft_wrap=True)  # fmt: skip


def _run(verb: str, settings: Path | None, *rest: str) -> None:
    given = ["--settings", str(settings)] if settings else []
    raise typer.Exit(main([verb, *given, *rest]))
