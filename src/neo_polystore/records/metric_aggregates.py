"""What can be asked of the values in a bucket: the names of aggregates, as they are written."""

from __future__ import annotations

import re
from typing import Final

from neo_polystore.errors import UsageError

ROLLED: Final = ("avg", "min", "max", "sum", "count")
"""What hourly and daily rollups hold; of `last` and percentiles only raw points know."""

MAX_AGGREGATES: Final = 16

_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)|percentile\(\s*(\d+(?:\.\d+)?)\s*\)")
_KNOWN = "avg, min, max, sum, count, last, p50 to p99, percentile(x)"


def read_aggregate(text: str) -> str:
    """The one spelling of an aggregate: `percentile(99.90)` and `p99.9` are both `p99.9`.

    Raises UsageError for an unknown one and for a percentile outside of 0 to 100.
    """
    name = text.strip().lower()
    if name in ROLLED or name == "last":
        return name
    match = _PERCENTILE.fullmatch(name)
    if match is None:
        raise UsageError(f"unknown aggregate {text[:60]!r}; there are {_KNOWN}")
    percent = float(match[1] or match[2])
    if percent > 100:
        raise UsageError(f"aggregate {text[:60]!r}: a percentile lies between 0 and 100")
    return f"p{percent:.10g}"


def read_aggregates(names: tuple[str, ...]) -> tuple[str, ...]:
    """Each aggregate once, in the order asked; UsageError for none or too many."""
    found = tuple(dict.fromkeys(read_aggregate(name) for name in names))
    if not 0 < len(found) <= MAX_AGGREGATES:
        raise UsageError(f"aggregates: ask for 1 to {MAX_AGGREGATES}, got {len(found)}")
    return found


def fraction_of(aggregate: str) -> float | None:
    """The share of values below a percentile, 0.99 for `p99`; None for what is no percentile."""
    return float(aggregate[1:]) / 100 if aggregate[0] == "p" else None


def needs_raw(aggregates: tuple[str, ...]) -> tuple[str, ...]:
    """Those that no rollup can answer."""
    return tuple(name for name in aggregates if name not in ROLLED)
