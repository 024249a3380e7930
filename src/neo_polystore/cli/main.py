"""The command `neo-polystore`."""

from __future__ import annotations

from typing import Annotated

import typer

from neo_polystore import __version__
from neo_polystore.cli import (
    attest,
    audit,
    auth,
    backup,
    base,
    db,
    demo,
    drill,
    health,
    hold,
    limits,
    load,
    metrics,
    outbox,
    query,
    restore,
    restore_to,
    retention,
    routes,
    scheduler,
    sealed,
    serve,
    settings,
    store,
    wal,
)
from neo_polystore.ops import log_setup

app = typer.Typer(
    name="neo-polystore",
    help="One storage facade over many stores. Every command takes --json and answers with exit"
    " code 0 (done), 1 (the work failed), 2 (wrong usage) or 3 (a store is unavailable).",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(serve.serve)
app.command()(demo.demo)
app.command()(drill.drill)
app.command()(load.load)
app.command()(query.query)
app.command()(routes.routes)
app.command()(health.health)
app.command()(settings.settings)
app.add_typer(db.app, name="db")
app.add_typer(db.migrations, name="migrations", hidden=True)
app.add_typer(db.database, name="database", hidden=True)
app.add_typer(store.app, name="store")
app.add_typer(metrics.app, name="metrics")
app.add_typer(limits.app, name="limits")
app.add_typer(outbox.app, name="outbox")
app.add_typer(retention.app, name="retention")
app.add_typer(hold.app, name="hold")
app.add_typer(scheduler.app, name="scheduler")
app.add_typer(audit.app, name="audit")
app.add_typer(sealed.app, name="sealed")
app.add_typer(attest.app, name="attest")
app.add_typer(auth.app, name="auth")
app.add_typer(backup.app, name="backup")
for _name, _command in base.COMMANDS.items():
    backup.app.command(_name)(_command)
restore.app.callback(invoke_without_command=True)(restore_to.to_moment)
restore.app.command("adopt")(restore_to.adopt)
app.add_typer(restore.app, name="restore")
app.add_typer(wal.app, name="wal")


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
