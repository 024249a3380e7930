"""What has to be done regularly: partitions ahead of time, and delivered messages dropped."""

from __future__ import annotations

from neo_polystore.pgkit.database import Database
from neo_polystore.ports.scheduling import Upkeep


class PgUpkeep:
    """Calls the database's own maintenance functions, as the relay's role."""

    def __init__(self, database: Database):
        self._database = database

    async def transaction_partitions(self, *, years_ahead: int = 2) -> list[str]:
        """Make the partitions of this year and the next ones; the names of those that were new."""
        async with self._database.acquire("transactions.partitions") as connection:
            rows = await connection.fetch(
                "SELECT blockchain.ensure_transaction_partitions($1) AS partition", years_ahead
            )
        return [row["partition"] for row in rows]

    async def outbox_partitions(self, *, ahead: int = 16) -> dict[str, str]:
        """Make partitions ahead and drop delivered ones; what was done, by partition.

        `made`, `dropped`, `emptied`, or `busy`: somebody was in the way for too long, and the
        next time will do.
        """
        async with self._database.acquire("outbox.partitions") as connection:
            rows = await connection.fetch("SELECT * FROM outbox.maintain($1)", ahead)
        return {row["partition"]: row["outcome"] for row in rows}


_: type[Upkeep] = PgUpkeep
