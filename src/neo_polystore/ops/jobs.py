"""The jobs that the platform itself has."""

from __future__ import annotations

from datetime import timedelta

from neo_polystore.audit.linking import link_missing
from neo_polystore.audit.trail import GRACE, AuditTrail
from neo_polystore.errors import PolystoreError
from neo_polystore.ops.scheduler import Job
from neo_polystore.ports.holds import Holds
from neo_polystore.ports.metric_upkeep import MetricUpkeep, Retained
from neo_polystore.ports.scheduling import Firing, Upkeep
from neo_polystore.retention.service import LEASE, Retention


def platform_jobs(upkeep: Upkeep) -> list[Job]:
    """Upkeep of the relational database: partitions ahead, what has had its time removed."""

    async def transaction_partitions(_: Firing) -> list[str]:
        return await upkeep.transaction_partitions(years_ahead=2)

    async def outbox_partitions(_: Firing) -> dict[str, str]:
        return await upkeep.outbox_partitions()

    async def expired_data(_: Firing) -> dict[str, int]:
        return await upkeep.expired_data()

    async def prune_runs(_: Firing) -> dict[str, int]:
        return await upkeep.prune_runs()

    async def prune_dead_letters(_: Firing) -> dict[str, int]:
        return await upkeep.prune_dead_letters()

    async def vacuum(_: Firing) -> dict[str, float] | None:
        return await upkeep.vacuum()

    return [
        Job("transaction-partitions", "15 0 * * *", transaction_partitions),
        Job("outbox-partitions", "5 * * * *", outbox_partitions),
        Job("expired-data", "35 * * * *", expired_data),
        Job("scheduler-runs", "20 3 * * *", prune_runs),
        Job("dead-letters", "40 3 * * *", prune_dead_letters),
        # in the quiet hours or not at all: what autovacuum does not reach can wait for a week
        Job("vacuum", "10 4 * * 6", vacuum, misfire="skip"),
    ]


def metric_jobs(upkeep: MetricUpkeep, holds: Holds | None = None) -> list[Job]:
    """Rollups, compression and retention of metrics, where the engine does not do it itself."""

    async def rollups(_: Firing) -> dict[str, int | None] | None:
        if not await upkeep.scheduled():
            return None
        return {"hours": (await upkeep.refresh()).hours}

    async def compression(_: Firing) -> dict[str, object] | None:
        if not await upkeep.scheduled():
            return None
        done = await upkeep.compress()
        return {"days": done.days, "points": done.points, "busy": done.busy}

    async def retention(firing: Firing) -> dict[str, object] | None:
        if not await upkeep.scheduled():
            return None
        if holds is None:
            return _dropped(await upkeep.retain())
        name = f"{firing.job} {firing.token}"
        async with holds.deleting("metrics", holder=name, seconds=LEASE) as standing:
            if standing.holds:
                return {"held": [hold.id for hold in standing.holds]}
            return _dropped(await upkeep.retain())

    return [
        Job("metric-rollups", "*/5 * * * *", rollups),
        Job("metric-compression", "10 3 * * *", compression),
        Job("metric-retention", "50 * * * *", retention),
    ]


def _dropped(done: Retained) -> dict[str, object]:
    return {"dropped": sum(part.rows for part in done.dropped), "busy": done.busy}


def retention_jobs(retention: Retention) -> list[Job]:
    """What is past its time, of every data type whose store is open."""

    async def apply(_: Firing) -> dict[str, object]:
        applied = await retention.apply(by="scheduler")
        if applied.failed:
            text = "; ".join(f"{each.data_type}: {each.detail}" for each in applied.failed)
            raise PolystoreError(f"run {applied.run}: {text}")
        kinds = {each.data_type: each.outcome for each in applied.done if each.outcome != "nothing"}
        return {"run": applied.run, "deleted": sum(e.deleted for e in applied.done), **kinds}

    return [Job("retention", retention.policy.cron, apply)]


def audit_jobs(trail: AuditTrail) -> list[Job]:
    """Links for audit entries of the last week that were stored without."""

    async def audit_links(firing: Firing) -> dict[str, int]:
        until = firing.scheduled_for - GRACE
        since = until - timedelta(days=7)
        return await link_missing(trail.documents, trail.chains, since=since, until=until)

    return [Job("audit-links", "*/5 * * * *", audit_links)]
