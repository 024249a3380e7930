"""What has to be done regularly: partitions ahead of time, and what has had its time removed."""

from __future__ import annotations

from neo_polystore.pgkit.database import Database
from neo_polystore.ports.scheduling import DroppedYear, Upkeep
from neo_polystore.stores.postgres import pruning
from neo_polystore.stores.postgres.config import PostgresConfig
from neo_polystore.stores.postgres.transaction_years import drop_year
from neo_polystore.stores.postgres.vacuum import vacuum


class PgUpkeep:
    """Calls the database's own maintenance functions, as the relay's role."""

    def __init__(self, database: Database):
        self._database = database
        self._rules = PostgresConfig.of(database.config)

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

    async def expired_data(self) -> dict[str, int]:
        """One transaction, with its line in the log of changed rows."""
        async with self._database.acquire("expired_data") as connection:
            found: dict[str, int] = await connection.fetchval(
                "SELECT public.cleanup_expired_data()", timeout=pruning.PATIENCE
            )
        return found

    async def prune_runs(
        self, *, days: int | None = None, keep: int | None = None, dry_run: bool = False
    ) -> dict[str, int]:
        """See `pruning.prune_runs`."""
        return await pruning.prune_runs(
            self._database,
            days=self._rules.run_days if days is None else days,
            keep=self._rules.runs_kept if keep is None else keep,
            dry_run=dry_run,
        )

    async def prune_dead_letters(
        self, *, days: int | None = None, dry_run: bool = False
    ) -> dict[str, int]:
        """See `pruning.prune_dead_letters`."""
        return await pruning.prune_dead_letters(
            self._database,
            days=self._rules.dead_letter_days if days is None else days,
            dry_run=dry_run,
        )

    async def vacuum(self) -> dict[str, float] | None:
        """See `vacuum.vacuum`."""
        if not self._database.config.owner:
            return None
        done = await vacuum(self._database.config)
        return {row["table"]: row["ms"] for row in done.rows}

    async def drop_transactions(self, year: int, *, dry_run: bool = False) -> DroppedYear:
        """See `transaction_years.drop_year`."""
        return await drop_year(self._database, year, dry_run=dry_run)


_: type[Upkeep] = PgUpkeep
