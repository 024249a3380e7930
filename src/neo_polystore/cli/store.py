"""`neo-polystore store`: an engine's own diagnostics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import asyncpg
import typer

from neo_polystore.addresses import EmbeddedAddresses, ServerAddresses
from neo_polystore.cli import store_admin, store_redis, store_s3, store_timescale
from neo_polystore.cli.answers import show
from neo_polystore.cli.output import JsonOption, run
from neo_polystore.cli.transaction_years import drop_year
from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.pgkit.errors import translated
from neo_polystore.settings import Settings
from neo_polystore.stores.postgres import diagnostics
from neo_polystore.stores.postgres.diagnostics import Answer
from neo_polystore.stores.postgres.vacuum import vacuum as run_vacuum

app = typer.Typer(
    help="One engine: set up, probe, let go of what is old, back up; its own diagnostics.",
    no_args_is_help=True,
)
postgres = typer.Typer(help="Diagnostics of PostgreSQL.", no_args_is_help=True)
app.add_typer(postgres, name="postgres")
postgres.command("drop-year")(drop_year)
app.add_typer(store_timescale.app, name="timescale")
app.add_typer(store_redis.app, name="redis")
app.add_typer(store_s3.app, name="s3")
store_admin.add_commands(postgres, "postgres")
store_admin.add_commands(store_timescale.app, "timescale", status=False, retention=False)
store_admin.add_commands(store_redis.app, "redis", status=False)
for _engine in ("event_store", "jsonb", "mongo", "files", "clickhouse", "elasticsearch", "tantivy"):
    app.add_typer(store_admin.group(_engine), name=_engine)

ENGINES = ("postgres", "event_store", "timescale", "jsonb")

Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many rows.")]
Every = Annotated[bool, typer.Option("--all", help="Not only those that call for attention.")]
Engine = Annotated[
    str,
    typer.Option(
        "--of",
        metavar="STORE",
        help="Whose database: postgres, event_store, timescale or jsonb.",
    ),
]
Question = Callable[[Any], Awaitable[Answer]]


@postgres.command()
def slow(
    at_least: Annotated[
        float, typer.Option("--min-ms", min=0, help="Mean milliseconds from which on to report.")
    ] = diagnostics.SLOW_MS,
    limit: Limit = 20,
    of: Engine = "postgres",
    as_json: JsonOption = False,
) -> None:
    """Show statements that are slow on average, the costliest first."""
    answer = run(_ask(of, lambda c: diagnostics.slow(c, at_least_ms=at_least, limit=limit)))
    show(answer, ("state", "calls", "mean_ms", "max_ms", "total_ms", "query"), as_json=as_json)


@postgres.command()
def bloat(
    every: Every = False, limit: Limit = 20, of: Engine = "postgres", as_json: JsonOption = False
) -> None:
    """Show tables with dead rows, and when they were vacuumed."""
    answer = run(_ask(of, lambda c: diagnostics.bloat(c, every=every, limit=limit)))
    shown = ("table", "live", "dead", "dead_percent", "due", "vacuumed")
    show(answer, shown, as_json=as_json)


@postgres.command()
def locks(of: Engine = "postgres", as_json: JsonOption = False) -> None:
    """Show who waits for whom."""
    answer = run(_ask(of, diagnostics.locks))
    shown = ("blocked", "waits_seconds", "query", "blocker", "blocker_state", "blocker_query")
    show(answer, shown, as_json=as_json, empty="nobody waits for a lock")


@postgres.command()
def connections(of: Engine = "postgres", as_json: JsonOption = False) -> None:
    """Show the server's connections by database, role, application and state."""
    answer = run(_ask(of, diagnostics.connections))
    shown = ("database", "role", "application", "state", "connections", "longest_seconds")
    show(answer, shown, as_json=as_json)


@postgres.command()
def indexes(
    every: Every = False, limit: Limit = 20, of: Engine = "postgres", as_json: JsonOption = False
) -> None:
    """Show indexes that nothing has used, the largest first."""
    answer = run(_ask(of, lambda c: diagnostics.indexes(c, every=every, limit=limit)))
    show(answer, ("index", "table", "scans", "bytes"), as_json=as_json)


@postgres.command()
def sizes(limit: Limit = 20, of: Engine = "postgres", as_json: JsonOption = False) -> None:
    """Show the largest tables with their indexes, and every database."""
    answer = run(_ask(of, lambda c: diagnostics.sizes(c, limit=limit)))
    show(answer, ("table", "rows", "bytes", "index_bytes", "partitions"), as_json=as_json)


@postgres.command()
def vacuum(
    tables: Annotated[
        list[str] | None, typer.Argument(help="schema.table; without any, those that need it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be vacuumed.")
    ] = False,
    of: Engine = "postgres",
    as_json: JsonOption = False,
) -> None:
    """Run VACUUM (ANALYZE) as the owner; others may read and write meanwhile."""
    answer = run(_vacuum(of, tables or [], dry_run=dry_run))
    show(answer, ("table", "dead") if dry_run else ("table", "dead", "ms"), as_json=as_json)


async def _ask(engine: str, question: Question) -> Answer:
    """Ask as the administrator of NEO_ADMIN_URL where there is one, else as the owner."""
    settings = Settings.load()
    return await _with(settings, engine, lambda config: _asked(settings, config, question))


async def _asked(settings: Settings, config: PgConfig, question: Question) -> Answer:
    async with translated("postgres", "diagnostics"):
        if settings.neo_profile == "server" and settings.neo_admin_url is not None:
            url = settings.neo_admin_url.get_secret_value()
            connection = await asyncpg.connect(url, database=config.database)
        else:
            connection = await asyncpg.connect(**config.connect_arguments(as_owner=True))
        try:
            return await question(connection)
        finally:
            await connection.close()


async def _vacuum(engine: str, tables: list[str], *, dry_run: bool) -> Answer:
    return await _with(
        Settings.load(), engine, lambda config: run_vacuum(config, tables, dry_run=dry_run)
    )


async def _with(
    settings: Settings, engine: str, work: Callable[[PgConfig], Awaitable[Answer]]
) -> Answer:
    if engine not in ENGINES:
        raise UsageError(f"--of {engine}: choose from {', '.join(ENGINES)}")
    embedded = settings.neo_profile == "embedded"
    addresses = await EmbeddedAddresses.open(settings) if embedded else ServerAddresses(settings)
    try:
        return await work(await addresses.config(engine))
    finally:
        await addresses.close()
