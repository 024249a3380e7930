"""`python -m benchmarks [NAME...] [--json]`: run benchmarks and print their comparisons."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks import (
    backup,
    cache,
    documents,
    limits,
    relational,
    rest,
    routing,
    sealing,
    timeseries,
)
from benchmarks.runner import Report, loop_factory

BENCHMARKS: dict[str, Callable[[], Awaitable[Report]]] = {
    "backup": backup.run,
    "cache": cache.run,
    "documents": documents.run,
    "hot_limits": limits.run,
    "relational": relational.run,
    "rest": rest.run,
    "routing": routing.run,
    "sealing": sealing.run,
    "timeseries": timeseries.run,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--json", action="store_true", help="print JSON in place of a table")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(BENCHMARKS)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in arguments.names or BENCHMARKS:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            report = runner.run(_run(name))
        if arguments.json:
            print(orjson.dumps(report.as_dict(), option=orjson.OPT_INDENT_2).decode())
        else:
            Console().print(_table(report))
            for figure, value in report.figures.items():
                Console(highlight=False).print(f"{figure}: {value:,.2f}")


async def _run(name: str) -> Report:
    return await BENCHMARKS[name]()


def _table(report: Report) -> Table:
    table = Table(title=f"{report.name} (ratio above 1: ours is better)", title_justify="left")
    for heading in ("comparison", "ratio", "ours", "reference", "unit"):
        table.add_column(heading, no_wrap=True)
    table.add_column("reference is", overflow="fold")
    for row in report.comparisons:
        table.add_row(
            row.name,
            f"{row.ratio:.2f}",
            f"{row.ours:,.1f}",
            f"{row.reference:,.1f}",
            row.unit,
            f"{row.reference_is} (median of {row.runs} runs)",
        )
    return table


if __name__ == "__main__":
    main()
