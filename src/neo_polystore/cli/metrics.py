"""`neo-polystore metrics`: statistics of time series, the series there are, and their curves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, err, fail, print_json, run
from neo_polystore.cli.plot import plot, plot_step
from neo_polystore.cli.text import cell, printable
from neo_polystore.errors import PolystoreError
from neo_polystore.ports.metrics import Metrics
from neo_polystore.records.metric_answer import Line, MetricAnswer, MetricSeries
from neo_polystore.records.metric_query import MetricQuery, SeriesQuery, read_step, read_tags
from neo_polystore.records.query import parse_time
from neo_polystore.records.results import Page
from neo_polystore.settings import Settings

T = TypeVar("T")

app = typer.Typer(help="Ask for time series.", no_args_is_help=True)

MOST_CURVES = 8
_UNLIMITED = 10_000
"""Columns of a table that goes into a file or a pipe: nothing is cut off there."""
_WIDEST = 140

ServiceArgument = Annotated[str, typer.Argument(help="The service measured.")]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[METRIC]...", help="Metrics; all if not given.")
]
SinceOption = Annotated[str, typer.Option(help="From this time on (ISO 8601, or an age: 24h).")]
UntilOption = Annotated[str | None, typer.Option(help="Before this time; now if not given.")]
TagOption = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag; of several, all.")
]
StepOption = Annotated[
    str | None, typer.Option(metavar="LENGTH", help="Length of a bucket: 30s, 5m, 1h, 1d.")
]
GroupOption = Annotated[str, typer.Option(help="One line per series, or per name.")]
SourceOption = Annotated[str, typer.Option(help="auto, raw, hourly or daily.")]


@app.command()
def query(
    service: ServiceArgument,
    names: NamesArgument = None,
    since: SinceOption = "24h",
    until: UntilOption = None,
    step: StepOption = None,
    aggregate: Annotated[
        list[str] | None,
        typer.Option(
            help="avg (if none is given), min, max, sum, count, last, p50 to p99, percentile(x)."
        ),
    ] = None,
    tag: TagOption = None,
    group: GroupOption = "series",
    fill: Annotated[
        str, typer.Option(help="What empty buckets get: skip, null, previous or zero.")
    ] = "skip",
    source: SourceOption = "auto",
    limit: Annotated[int, typer.Option(help="At most so many lines.")] = 1000,
    as_json: JsonOption = False,
) -> None:
    """Show statistics per bucket; without --step, one row per series over the whole range."""

    def read() -> MetricQuery:
        return replace(
            _query(service, names, since, until, tag, group, source),
            step=read_step(step) if step else None,
            aggregates=tuple(aggregate or ("avg",)),
            fill=_any(fill),
            limit=limit,
        ).normal()

    answer = _asked(read, lambda metrics, wanted: metrics.query(wanted))
    if as_json:
        print_json(answer.as_dict())
        return
    screen = console if console.is_terminal else Console(width=_UNLIMITED, highlight=False)
    if answer.lines:
        screen.print(_table(answer))
    _tell(answer)


@app.command(name="series")
def list_series(
    service: Annotated[str | None, typer.Argument(help="Of this service; all if none.")] = None,
    name: Annotated[str | None, typer.Option(metavar="METRIC", help="Of this name.")] = None,
    tag: TagOption = None,
    limit: Annotated[int, typer.Option(help="At most so many series.")] = 100,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="The next page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the series there are or were."""

    def read() -> SeriesQuery:
        wanted = SeriesQuery(service, name, read_tags(tag or ()), limit, after)
        wanted.check()
        return wanted

    page: Page[MetricSeries] = _asked(read, lambda metrics, wanted: metrics.series(wanted))
    if as_json:
        found = [{"service": one.service, "name": one.name, "tags": one.tags} for one in page]
        print_json({"series": found, "next": page.next})
        return
    table = Table()
    for heading in ("service", "name", "tags"):
        table.add_column(heading, overflow="fold")
    for one in page:
        table.add_row(
            *(escape(printable(text)) for text in (one.service, one.name, _tags(one.tags)))
        )
    screen = console if console.is_terminal else Console(width=_UNLIMITED, highlight=False)
    screen.print(table)
    if page.next is not None:
        err.print(f"[dim]more with --after {escape(page.next)}[/dim]", soft_wrap=True)


@app.command(name="plot")
def draw(
    service: ServiceArgument,
    names: NamesArgument = None,
    since: SinceOption = "24h",
    until: UntilOption = None,
    step: StepOption = None,
    aggregate: Annotated[str, typer.Option(help="What to draw; see `metrics query`.")] = "avg",
    tag: TagOption = None,
    group: GroupOption = "series",
    source: SourceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Draw each series as a curve; the step, if not given, suits the width of the screen."""
    width = min(console.width, _WIDEST)

    def read() -> MetricQuery:
        wanted = _query(service, names, since, until, tag, group, source)
        length = read_step(step) if step else plot_step(wanted.until - wanted.since, width)
        wanted = replace(wanted, step=length, aggregates=(aggregate,), limit=MOST_CURVES)
        return wanted.normal()

    answer = _asked(read, lambda metrics, wanted: metrics.query(wanted))
    if as_json:
        print_json(answer.as_dict())
        return
    for line in answer.lines:
        console.print(f"[bold]{escape(_title(line))}[/bold]", soft_wrap=True)
        console.print("\n".join(_curve(answer, line, width)), markup=False, soft_wrap=True)
    _tell(answer)


def _query(
    service: str,
    names: list[str] | None,
    since: str,
    until: str | None,
    tag: list[str] | None,
    group: str,
    source: str,
) -> MetricQuery:
    now = datetime.now(UTC)
    return MetricQuery(
        service=service,
        since=parse_time(since, now=now),
        until=parse_time(until, now=now) if until else now,
        names=tuple(names or ()),
        tags=read_tags(tag or ()),
        group=_any(group),
        source=_any(source),
    )


def _any(choice: str) -> Any:
    """A choice as typed; the query's normal form refuses wrong ones."""
    return choice


def _asked(read: Callable[[], Any], ask: Callable[[Metrics, Any], Awaitable[T]]) -> T:
    """What the port answers; a query that makes no sense is refused before a store is opened."""
    try:
        wanted = read()
    except PolystoreError as error:
        raise fail(error) from None

    async def answer() -> T:
        async with open_polystore(Settings.load(), data_types={"metrics"}) as polystore:
            return await ask(polystore.metrics, wanted)

    return run(answer())


def _table(answer: MetricAnswer) -> Table:
    table = Table()
    aggregates = list(answer.lines[0].values)
    has_tags = any(line.tags for line in answer.lines)
    for heading in ("time", "name", *(["tags"] if has_tags else [])):
        table.add_column(heading, overflow="fold")
    for heading in aggregates:
        table.add_column(heading, justify="right", overflow="fold")
    for line in answer.lines:
        names = [printable(line.name), *([printable(_tags(line.tags or {}))] if has_tags else [])]
        for time, *values in zip(line.times, *line.values.values(), strict=True):
            table.add_row(*map(escape, (cell(time), *names, *map(cell, values))))
    return table


def _curve(answer: MetricAnswer, line: Line, width: int) -> list[str]:
    [values] = line.values.values()
    return plot(
        line.times,
        values,
        since=answer.since,
        until=answer.until,
        step=answer.step or timedelta(0),
        width=width,
        height=14 if len(answer.lines) == 1 else 7,
    )


def _title(line: Line) -> str:
    [aggregate] = line.values
    tags = f" {{{_tags(line.tags)}}}" if line.tags else ""
    return printable(f"{aggregate}({line.name}){tags}")


def _tags(tags: Any) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _tell(answer: MetricAnswer) -> None:
    """Where the answer comes from, beside it: on standard error."""
    step = "the whole range" if answer.step is None else f"steps of {answer.step}"
    parts = [
        f"{cell(answer.since)} to {cell(answer.until)}, {step}",
        f"from {answer.source} values: {answer.reason}",
    ]
    if answer.note:
        parts.insert(0, answer.note)
    if answer.open:
        parts.append("more may still arrive")
    if answer.more:
        parts.append("there are more series: narrow the query, or group by name")
    for part in parts:
        err.print(f"[dim]{escape(printable(part))}[/dim]", soft_wrap=True)
