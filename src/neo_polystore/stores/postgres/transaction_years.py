"""Drops a past year of transactions with its keys, in steps that a crash leaves completable."""

from __future__ import annotations

from typing import Final

import asyncpg

from neo_polystore.errors import UnavailableError, UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.scheduling import DroppedYear
from neo_polystore.stores.postgres.pruning import PATIENCE

BLOCKS: Final = 2_000
"""Blocks (8 kB each) of transactions whose keys go in one transaction: some 40,000 keys."""

LAST: Final = 3_600.0
"""Seconds for the last portion, which looks at the whole year again."""

_LOOK = "SELECT * FROM blockchain.transaction_year($1)"
_DETACH = "SELECT blockchain.detach_transaction_year($1)"
_PURGE = "SELECT * FROM blockchain.purge_transaction_year($1, $2, $3)"


async def drop_year(
    database: Database, year: int, *, dry_run: bool = False, blocks: int = BLOCKS
) -> DroppedYear:
    """See `ports.scheduling.Upkeep.drop_transactions` and migration 0022.

    A dry run counts the year's rows, which reads all of them.
    """
    if not 1970 <= year <= 9999:
        raise UsageError(f"year: expected one from 1970 on, got {year}")
    async with database.acquire("transactions.drop_year") as connection:
        [found] = await connection.fetch(_LOOK, year, timeout=PATIENCE)
        seen = DroppedYear(year, **found)
        if dry_run or seen.state == "absent":
            return seen
        try:
            state = await connection.fetchval(_DETACH, year)
        except asyncpg.InvalidParameterValueError as error:
            raise UsageError(str(error), store=database.store) from error
        if state == "busy":
            raise UnavailableError(
                "somebody holds blockchain.transactions for too long: try again later",
                store=database.store,
                operation="transactions.drop_year",
            )
        keys, block = 0, 0
        while block is not None:
            [row] = await connection.fetch(_PURGE, year, block, blocks, timeout=LAST)
            keys, block = keys + row["keys"], row["next_block"]
    return DroppedYear(year, "dropped", seen.transactions, seen.bytes, keys)
