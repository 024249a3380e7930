"""`neo-polystore outbox`: what waits for delivery, what was given up, and giving it another try."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, fail, print_json, run
from neo_polystore.cli.text import printable
from neo_polystore.errors import UsageError
from neo_polystore.ops.background import operational
from neo_polystore.ops.dead_letters import MOST, open_letters
from neo_polystore.ports.outbox import DeadLetter, OutboxStatus
from neo_polystore.ports.relational import Operational

app = typer.Typer(
    help="Messages on their way to other stores, and those that were given up.",
    no_args_is_help=True,
)

Topic = Annotated[str | None, typer.Option(help="Only this topic (data type).")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be, change nothing.")]


@asynccontextmanager
async def relational() -> AsyncIterator[Operational]:
    """The store that holds outbox and scheduler, and no other (sealed blobs have no cache)."""
    async with open_polystore(data_types={"sealed"}) as polystore:
        yield operational(polystore)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show every topic: what waits and for how long, what was delivered, what is dead."""
    found = run(_status())
    if as_json:
        print_json(asdict(found))
        return
    table = Table(title="Outbox", title_justify="left")
    table.add_column("topic")
    for heading in ("waiting", "oldest s", "delivered", "dead letters", "position"):
        table.add_column(heading, justify="right")
    table.add_column("relay")
    for topic in found.topics:
        numbers = (topic.depth, topic.lag, topic.delivered, topic.dead, topic.position)
        cells = (
            f"{number:,.1f}" if isinstance(number, float) else f"{number:,}" for number in numbers
        )
        table.add_row(escape(printable(topic.topic)), *cells, escape(topic.holder or "-"))
    console.print(table)
    if found.held:
        console.print(f"{found.held:,} ids wait for server process {found.held_by} to commit")


@app.command("dead-letters")
def dead_letters(
    topic: Topic = None,
    settled: Annotated[
        bool,
        typer.Option("--settled", "--replayed", help="Those that were replayed or discarded, too."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many.")] = 100,
    after: Annotated[int, typer.Option(min=0, help="Those with greater ids: the next page.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """List messages that were given up, oldest first, with the reason."""
    found = run(_dead_letters(topic=topic, settled=settled, limit=limit, after=after))
    _show(found, as_json=as_json)


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Dead letters, by id.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Publish dead letters again, behind all that was published under their keys since."""
    if bool(ids) == every:
        raise fail(UsageError("name dead letters by id, or say --all"))
    if dry_run:
        _show(run(_replayable(ids or None)), as_json=as_json)
        return
    count = run(_replay(ids or None))
    if as_json:
        print_json({"replayed": count})
    else:
        console.print(f"{count:,} published again")


@app.command()
def discard(
    ids: Annotated[list[int], typer.Argument(help="Dead letters, by id.")],
    reason: Annotated[str, typer.Option(help="Why nobody needs them.")],
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Give dead letters up for good; they stay on record until they are pruned."""
    if dry_run:
        _show(run(_replayable(ids)), as_json=as_json)
        return
    count = run(_discard(ids, reason))
    if as_json:
        print_json({"discarded": count})
    else:
        console.print(f"{count:,} discarded")


@app.command()
def prune(
    days: Annotated[
        int | None,
        typer.Option(min=0, help="Settled so many days ago; else NEO_DEAD_LETTER_DAYS."),
    ] = None,
    dry_run: DryRun = False,
    as_json: JsonOption = False,
) -> None:
    """Forget dead letters that were replayed or discarded long ago; the others stay."""
    found = run(_prune(days, dry_run=dry_run))
    show_counts(found, "topic", "dead letters", dry_run=dry_run, as_json=as_json)


def show_counts(
    found: Mapping[str, int], name: str, what: str, *, dry_run: bool, as_json: bool
) -> None:
    """What was removed, or would be, by name."""
    if as_json:
        print_json({"dry_run": dry_run, "removed": found})
        return
    title = f"Would remove {what}" if dry_run else f"Removed {what}"
    table = Table(title=title, title_justify="left")
    table.add_column(name, overflow="fold")
    table.add_column(what, justify="right")
    for key, count in found.items():
        table.add_row(escape(printable(key)), f"{count:,}")
    console.print(table if found else f"no {what} to remove")


async def _status() -> OutboxStatus:
    async with relational() as store:
        return await store.outbox_admin.status()


async def _dead_letters(**choice: Any) -> list[DeadLetter]:
    async with relational() as store:
        return await store.outbox_admin.dead_letters(**choice)


async def _replayable(ids: list[int] | None) -> list[DeadLetter]:
    async with relational() as store:
        return await open_letters(store.outbox_admin, ids)


async def _replay(ids: list[int] | None) -> int:
    async with relational() as store:
        await open_letters(store.outbox_admin, ids)
        return await store.outbox_admin.replay(ids)


async def _discard(ids: list[int], reason: str) -> int:
    async with relational() as store:
        await open_letters(store.outbox_admin, ids)
        return await store.outbox_admin.discard(ids, reason=reason)


async def _prune(days: int | None, *, dry_run: bool) -> dict[str, int]:
    async with relational() as store:
        return await store.upkeep.prune_dead_letters(days=days, dry_run=dry_run)


def _show(letters: list[DeadLetter], *, as_json: bool) -> None:
    if as_json:
        print_json([asdict(letter) for letter in letters])
        return
    table = Table(title="Dead letters", title_justify="left")
    table.add_column("id", justify="right")
    for heading in ("topic", "key", "last failed", "attempts", "settled", "reason"):
        table.add_column(heading, overflow="fold")
    for letter in letters:
        cells = (
            letter.message.topic,
            letter.message.key,
            f"{letter.last_failed:%Y-%m-%d %H:%M:%S}",
            str(letter.attempts),
            _settled(letter),
            letter.reason,
        )
        table.add_row(str(letter.id), *(escape(printable(cell)) for cell in cells))
    console.print(table)


def _settled(letter: DeadLetter) -> str:
    if letter.replayed_at:
        return f"replayed {letter.replayed_at:%Y-%m-%d %H:%M:%S}"
    if letter.discarded_at:
        return f"discarded {letter.discarded_at:%Y-%m-%d %H:%M:%S}: {letter.discard_reason}"
    return "-"
