"""`neo-polystore db`: schema versions, samples and roles of every store."""

from __future__ import annotations

import typer

from neo_polystore.cli.db import data, schema
from neo_polystore.cli.db.roles import app as roles

app = typer.Typer(help="Schema versions, samples and roles of every store.", no_args_is_help=True)

app.command()(schema.migrate)
app.command()(schema.status)
app.command()(schema.rollback)
app.command()(schema.script)
app.command()(schema.validate)
app.command()(schema.new)
app.command()(data.seed)
app.command()(data.clear)
app.add_typer(roles, name="roles")

# The names that the specifications give some of them.
migrations = typer.Typer(help="Other names: add, script.", no_args_is_help=True)
migrations.command("add")(schema.new)
migrations.command("script")(schema.script)
database = typer.Typer(help="Another name: update.", no_args_is_help=True)
database.command("update")(schema.migrate)
database.command("status")(schema.status)
