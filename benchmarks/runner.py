"""Runs both sides of a comparison in turns and reports medians as a ratio."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console

from neo_polystore.ops.collector import settle

Side = Callable[[], Awaitable[float]]
"""One run of one side: does its work and answers its figure in the comparison's unit."""

PACKAGES = (
    "neo-polystore",
    "asyncpg",
    "limits",
    "redis",
    "pydantic",
    "clickhouse-connect",
    "tantivy",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both sides. A `ratio` above 1 means that ours is better, whatever the unit."""

    name: str
    ours: float
    reference: float
    reference_is: str
    unit: str
    ratio: float
    runs: int


@dataclass
class Report:
    """What one benchmark found, and on what. `figures` are ours, absolute, by name with unit."""

    name: str
    comparisons: list[Comparison] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=lambda: machine())

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    async def compare(
        self,
        name: str,
        *,
        ours: Side,
        reference: Side,
        reference_is: str,
        unit: str,
        lower_is_better: bool = False,
        runs: int = 5,
    ) -> Comparison:
        """Warm both sides up once, then run them in turns `runs` times, swapping who goes first.

        Both run with the garbage collector as a served platform has it.
        """
        if runs < 3:
            raise ValueError("a median needs at least three runs")
        await ours()
        await reference()
        settle()
        figures: dict[str, list[float]] = {"ours": [], "reference": []}
        sides = {"ours": ours, "reference": reference}
        for number in range(runs):
            for side in sorted(sides, reverse=bool(number % 2)):
                figures[side].append(await sides[side]())
        return self.record(
            name,
            figures["ours"],
            figures["reference"],
            reference_is=reference_is,
            unit=unit,
            lower_is_better=lower_is_better,
        )

    def record(
        self,
        name: str,
        ours: Sequence[float],
        reference: Sequence[float],
        *,
        reference_is: str,
        unit: str,
        lower_is_better: bool = False,
    ) -> Comparison:
        """Compare figures of runs that took turns."""
        mine, other = statistics.median(ours), statistics.median(reference)
        ratio = other / mine if lower_is_better else mine / other
        found = Comparison(name, mine, other, reference_is, unit, ratio, len(ours))
        self.comparisons.append(found)
        Console(stderr=True, highlight=False).print(
            f"{self.name}.{name}: {mine:,.1f} against {other:,.1f} {unit}"
            f" ({reference_is}): [bold]{ratio:.2f}[/bold]"
        )
        return found


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes the event loop of both sides: uvloop where it is installed, as in a served platform."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "event_loop": "asyncio" if loop_factory() is None else "uvloop",
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "optimised": not sys.flags.dev_mode,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
