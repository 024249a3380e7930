"""`timeseries`: what metrics cost against the bare driver and against TimescaleDB itself.

Its parts stand in files of their own: ingest, queries, the refresh of rollups, and cold points.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from benchmarks.runner import Report

PARTS = {
    "timeseries_ingest": "measure",
    "timeseries_query": "hourly_query",
    "timeseries_refresh": "measure",
    "timeseries_cold": "measure",
}
"""Module and what in it adds its comparisons to a report."""


async def run() -> Report:
    """Run every part that is there, into one report."""
    report = Report("timeseries")
    for part, function in PARTS.items():
        if find_spec(f"benchmarks.{part}") is not None:
            await getattr(import_module(f"benchmarks.{part}"), function)(report)
    return report
