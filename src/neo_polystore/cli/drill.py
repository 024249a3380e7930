"""`neo-polystore drill`: a rehearsal of losing everything."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

import typer

from neo_polystore.cli.output import JsonOption, console, print_json, run
from neo_polystore.ops.drill import Drill, run_drill
from neo_polystore.settings import Settings


def drill(as_json: JsonOption = False) -> None:
    """Load a platform of its own, back it up, destroy it, restore it, and compare.

    Touches nothing of the installation. Exit code 1 unless everything came back.
    """
    found = run(_drill())
    if as_json:
        print_json(found.as_dict())
    else:
        console.print(
            f"{found.records} records of {len(found.lost)} data types,"
            f" {found.bytes:,} bytes in run {found.run}"
        )
        console.print(f"backed up in {found.backup_seconds:.1f} s")
        console.print(f"recovery point: {found.recovery_point:%Y-%m-%d %H:%M:%S} UTC")
        console.print(f"recovery time: {found.recovery_seconds:.1f} s until the platform answered")
        for data_type, count in found.lost.items():
            if count:
                console.print(f"[red]{data_type}: {count} not back as they were[/red]")
        if found.ok:
            console.print("[green]everything came back[/green]")
    if not found.ok:
        raise typer.Exit(1)


async def _drill() -> Drill:
    settings = Settings.load()
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="neo-polystore-drill-"))
    try:
        return await run_drill(folder / "drill", settings)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
