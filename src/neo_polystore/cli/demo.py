"""`neo-polystore demo`: every data type, proven end to end."""

from __future__ import annotations

import typer
from rich.table import Table

from neo_polystore.build import open_polystore
from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.ops.demo import Demo, run_demo
from neo_polystore.settings import Settings


def demo(as_json: JsonOption = False) -> None:
    """Write a sample of every data type, read it back, write it again: nothing doubles.

    Exit code 1 unless every record is found through the facade and by the engine's own client.
    """
    found = run(_demo())
    if as_json:
        print_json(found.as_dict())
    else:
        console.print(_table(found))
        console.print("[green]all found[/green]" if found.ok else "[red]not all found[/red]")
    if not found.ok:
        raise typer.Exit(1)


async def _demo() -> Demo:
    settings = Settings.load()
    async with open_polystore(settings) as polystore:
        return await run_demo(polystore, settings.scope())


def _table(found: Demo) -> Table:
    table = Table(title="Demo", title_justify="left")
    for heading in ("data type", "engine"):
        table.add_column(heading, no_wrap=True)
    for heading in ("written", "read", "native", "existing", "ms"):
        table.add_column(heading, justify="right")
    for line in found.lines:
        cells = (line.written, line.read_back, line.native, line.existing)
        colour = "" if line.ok else "[red]"
        table.add_row(
            f"{colour}{line.data_type}",
            line.engine,
            *(str(cell) for cell in cells),
            f"{line.milliseconds:.0f}",
        )
    return table
