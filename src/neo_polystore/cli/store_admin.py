"""`neo-polystore store ENGINE init|status|retention|backup`: what every engine has."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated, TypeVar

import typer
from rich.markup import escape

from neo_polystore.build import made_stores
from neo_polystore.cli import backup as backup_cli
from neo_polystore.cli import retention as retention_cli
from neo_polystore.cli.backup import TargetOption
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.ops.health import probe
from neo_polystore.ports.store import Health, MigrationReport, Store
from neo_polystore.routing import load_routing
from neo_polystore.settings import Settings

ENGINES = {
    "postgres": "PostgreSQL",
    "event_store": "the event store",
    "timescale": "the metrics",
    "jsonb": "documents in PostgreSQL",
    "mongo": "MongoDB",
    "redis": "Redis",
    "files": "objects in files",
    "s3": "S3",
    "clickhouse": "ClickHouse",
    "elasticsearch": "Elasticsearch",
    "tantivy": "the index of the logs",
}

T = TypeVar("T")
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what is pending.")]
Planned = Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")]


@dataclass(frozen=True, slots=True)
class State:
    """Whether a store answers, and whether its schema is this version's."""

    store: str
    health: Health
    schema: MigrationReport | None

    @property
    def ok(self) -> bool:
        """Answers, and nothing is pending."""
        ready = self.schema is not None and not self.schema.pending and not self.schema.problems
        return self.health.status in ("healthy", "degraded") and ready


def add_commands(
    app: typer.Typer,
    engine: str,
    *,
    init: bool = True,
    status: bool = True,
    retention: bool = True,
) -> None:
    """Give an engine's group `backup` and, where it has none of its own, the others."""
    called = ENGINES[engine]

    def make(dry_run: DryRun = False, as_json: JsonOption = False) -> None:
        _init(engine, dry_run=dry_run, as_json=as_json)

    def state(as_json: JsonOption = False) -> None:
        _status(engine, as_json=as_json)

    def let_go(dry_run: Planned = False, as_json: JsonOption = False) -> None:
        retention_cli.apply(_served(engine), dry_run=dry_run, as_json=as_json)

    def backup(target: TargetOption = None, as_json: JsonOption = False) -> None:
        _served(engine)
        backup_cli.make(store=[engine], target=target, as_json=as_json)

    app.command("backup", help=f"Back up {called} alone, in a run of its own.")(backup)
    if retention:
        app.command("retention", help=f"Let go of what is past its time in {called}.")(let_go)
    if init:
        app.command("init", help=f"Make what {called} needs; run again it changes nothing.")(make)
    if status:
        app.command("status", help=f"Probe {called}. Exit code 1 where its schema is behind.")(
            state
        )


def group(engine: str) -> typer.Typer:
    """The group of an engine that has no commands but these."""
    app = typer.Typer(help=f"Set up and probe {ENGINES[engine]}.", no_args_is_help=True)
    add_commands(app, engine)
    return app


def _init(engine: str, *, dry_run: bool, as_json: bool) -> None:
    report = run(_with(engine, lambda store: store.migrate(dry_run=dry_run)))
    if as_json:
        print_json(asdict(report))
    else:
        console.print(escape(_schema(report)), soft_wrap=True)


def _status(engine: str, *, as_json: bool) -> None:
    found = run(_with(engine, _state))
    if as_json:
        print_json({**asdict(found), "ok": found.ok})
    else:
        health = found.health
        parts = (health.status, health.version, health.detail)
        console.print(f"{engine}: {escape(', '.join(filter(None, parts)))}", soft_wrap=True)
        if found.schema is not None:
            console.print(escape(_schema(found.schema)), soft_wrap=True)
    if found.health.status == "unhealthy":
        raise typer.Exit(3)
    if not found.ok:
        raise typer.Exit(1)


async def _state(store: Store) -> State:
    health = await probe(store)
    if health.status == "unhealthy":
        return State(store.name, health, None)
    return State(store.name, health, await store.migrate(dry_run=True))


async def _with(engine: str, work: Callable[[Store], Awaitable[T]]) -> T:
    """With this engine's store alone; UsageError where nothing is routed to it."""
    served = _routed(engine)
    async with made_stores(Settings.load(), data_types=served[:1]) as (_, stores):
        return await work(stores[engine])


def _routed(engine: str) -> list[str]:
    """The data types that are routed to an engine; UsageError where there are none."""
    settings = Settings.load()
    routing = load_routing(settings.neo_profile, settings.neo_routing, addressed=settings.addressed)
    served = [route.data_type for route in routing if route.primary == engine]
    if not served:
        routed = sorted({route.primary for route in routing})
        raise UsageError(f"{engine} is not routed; there are {', '.join(routed)}")
    return served


def _served(engine: str) -> list[str]:
    """As `_routed`, for a command: what is wrong ends it."""
    try:
        return _routed(engine)
    except PolystoreError as error:
        raise fail(error) from None


def _schema(report: MigrationReport) -> str:
    if report.not_applicable:
        return f"schema: none: {report.not_applicable}"
    if report.applied:
        return f"schema: applied {', '.join(report.applied)}"
    if report.pending:
        return f"schema: pending {', '.join(report.pending)}"
    return f"schema: {report.current or 'up to date'}, nothing is pending"
