"""The jobs that the platform itself has."""

from __future__ import annotations

from neo_polystore.ops.scheduler import Job
from neo_polystore.ports.scheduling import Firing, Upkeep


def platform_jobs(upkeep: Upkeep) -> list[Job]:
    """Upkeep of the relational database: partitions ahead, delivered messages dropped."""

    async def transaction_partitions(_: Firing) -> list[str]:
        return await upkeep.transaction_partitions(years_ahead=2)

    async def outbox_partitions(_: Firing) -> dict[str, str]:
        return await upkeep.outbox_partitions()

    return [
        Job("transaction-partitions", "15 0 * * *", transaction_partitions),
        Job("outbox-partitions", "5 * * * *", outbox_partitions),
    ]
