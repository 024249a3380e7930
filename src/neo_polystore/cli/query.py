"""`neo-polystore query`: look at what is stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape

from neo_polystore.build import open_polystore
from neo_polystore.cli import columns
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.cli.text import cell, digits
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_type
from neo_polystore.records.documents import Document
from neo_polystore.records.query import (
    Query,
    check_field,
    check_limit,
    check_numeric,
    parse_condition,
    parse_order,
    parse_time,
)
from neo_polystore.records.results import Page
from neo_polystore.routing import UNRECORDED
from neo_polystore.settings import Settings

_UNLIMITED = 10_000
"""Columns of a table that goes into a file or a pipe: nothing is cut off there."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to answer: a page of records, or one figure over all that fit the query."""

    query: Query
    count: bool = False
    sum: str | None = None
    distinct: str | None = None


def query(
    data_type: Annotated[
        str, typer.Argument(metavar="DATA-TYPE", help="What to look at, e.g. transactions.")
    ],
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="A condition; also != < <= > >= and ^= (begins with)."
        ),
    ] = None,
    since: Annotated[str | None, typer.Option(help="From this time on (ISO 8601, or 24h).")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    text: Annotated[str | None, typer.Option(metavar="WORDS", help="All of these words.")] = None,
    order: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Order by a field, -FIELD for descending.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many records.")] = 100,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="The next page.")] = None,
    count: Annotated[bool, typer.Option("--count", help="How many there are.")] = False,
    sum_of: Annotated[str | None, typer.Option("--sum", metavar="FIELD", help="Exact sum.")] = None,
    distinct: Annotated[str | None, typer.Option(metavar="FIELD", help="Different values.")] = None,
    fields: Annotated[str | None, typer.Option(metavar="A,B", help="Fields to show.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show records, or count, sum or distinguish them."""
    try:
        model = _model(data_type)
        chosen = columns.choose(fields, model)
        asked = _Asked(
            _query(model, where or [], since, until, text, order, limit, after),
            count,
            sum_of,
            distinct,
        )
        _check(asked, model)
    except PolystoreError as error:
        raise fail(error) from None
    answer = run(_answer(data_type, asked))
    if as_json:
        print_json(_jsonable(answer, asked, model, chosen))
    elif isinstance(answer, Page):
        _show(answer, model, chosen)
    else:
        for value in answer if isinstance(answer, list) else [answer]:
            typer.echo(cell(value))


async def _answer(data_type: str, asked: _Asked) -> Any:
    settings = Settings.load()
    async with open_polystore(settings, data_types={data_type}) as polystore:
        port = polystore.records(data_type, settings.scope())
        if asked.count:
            return await port.count(asked.query)
        if asked.sum is not None:
            return await port.sum(asked.query, asked.sum)
        if asked.distinct is not None:
            return await port.distinct(asked.query, asked.distinct)
        return await port.find(asked.query)


def _model(data_type: str) -> type[Record]:
    if data_type in UNRECORDED:
        raise UsageError(
            f"{data_type} holds no records that could be queried, only keys with a TTL"
        )
    if data_type == "receipts":
        raise UsageError("receipts complete transactions: query transactions")
    return record_type(data_type)


def _query(
    model: type[Record],
    where: list[str],
    since: str | None,
    until: str | None,
    text: str | None,
    order: str | None,
    limit: int,
    after: str | None,
) -> Query:
    field, descending = parse_order(model, order) if order else (None, False)
    return Query(
        filters=tuple(parse_condition(model, condition) for condition in where),
        since=parse_time(since) if since else None,
        until=parse_time(until) if until else None,
        text=text,
        order=field,
        descending=descending,
        limit=limit,
        after=after,
    )


def _check(asked: _Asked, model: type[Record]) -> None:
    """Refuse what cannot be answered before any store is opened."""
    if asked.count + (asked.sum is not None) + (asked.distinct is not None) > 1:
        raise UsageError("choose one of --count, --sum and --distinct")
    check_limit(asked.query)
    if asked.sum is not None:
        check_numeric(model, asked.sum)
    if asked.distinct is not None:
        check_field(model, asked.distinct)
    if (asked.query.since or asked.query.until) and model.time_field is None:
        raise UsageError(f"{model.data_type} have no time to select by")
    if asked.query.text is not None and model.text_field is None:
        raise UsageError(f"{model.data_type} have no text to search")


def _jsonable(
    answer: Any, asked: _Asked, model: type[Record], chosen: tuple[str, ...] | None
) -> dict[str, Any]:
    if isinstance(answer, Page):
        records = [record_json(record) for record in answer.records]
        if chosen is not None:
            records = [{name: _reach(record, name) for name in chosen} for record in records]
        return {"records": records, "next": answer.next}
    if asked.count:
        return {"count": answer}
    if asked.sum is not None:
        return {"sum": digits(answer)}
    return {"values": [_value_json(model, asked.distinct or "", value) for value in answer]}


def record_json(record: Record) -> dict[str, Any]:
    """A record in JSON's types: amounts as digits, times in ISO 8601, bytes in base64.

    `load` reads it back as the same record.
    """
    if isinstance(record, Document):
        text: str | bytes = to_json(record.body())
    else:
        text = record.model_dump_json(by_alias=True)
    found: dict[str, Any] = json.loads(text)
    return found


def _value_json(model: type[Record], name: str, value: Any) -> Any:
    """One field's value as the record's own JSON has it."""
    if name in model.model_fields:
        record = model.model_construct(**{name: value})
        dumped = record.model_dump(mode="json", include={name}, warnings=False)
        return dumped.get(name, value)
    return json.loads(to_json(value))


def _reach(record: dict[str, Any], name: str) -> Any:
    value: Any = record
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _show(page: Page[Record], model: type[Record], chosen: tuple[str, ...] | None) -> None:
    screen = console if console.is_terminal else Console(width=_UNLIMITED, highlight=False)
    shown, missing = columns.table(page.records, model, chosen, screen)
    screen.print(shown)
    if missing:
        err.print(f"[dim]not shown: {', '.join(missing)} (choose with --fields)[/dim]")
    if page.next is not None:
        err.print(f"[dim]more with --after {escape(page.next)}[/dim]", soft_wrap=True)
