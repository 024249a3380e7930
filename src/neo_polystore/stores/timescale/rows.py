"""Small batches: rows for the database's function `write_points`, and what it says of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

from neo_polystore.pgkit.database import Connection
from neo_polystore.stores.timescale.identity import Identity

Outcome = Literal["new", "existing", "replaced"]

Row = tuple[Identity, datetime, float, str | None]
"""Series, time, value, unit."""

MOST: Final = 1000
"""From this many rows on, COPY is faster than arrays as parameters."""

_WRITE: Final = "SELECT added, replaced FROM write_points($1, $2, $3, $4, $5, $6, $7)"


async def write_rows(connection: Connection, rows: Sequence[Row]) -> list[Outcome]:
    """Store rows, no series and time twice; what became of each, in order. One statement."""
    identities, times, values, units = zip(*rows, strict=True)
    _, ids, services, _, names, tags = zip(*identities, strict=True)
    row = await connection.fetchrow(_WRITE, ids, services, names, tags, units, times, values)
    if row is None or row["added"] is None:
        return ["new"] * len(rows)
    outcomes: list[Outcome] = ["existing"] * len(rows)
    for place in row["added"]:
        outcomes[place - 1] = "new"
    for place in row["replaced"]:
        outcomes[place - 1] = "replaced"
    return outcomes
