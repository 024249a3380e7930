"""Recording: at once, inside a unit of work, with the collection away; reading one's own only."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.errors import NotFoundError, TenantRequiredError, UsageError, ValidationError
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from tests.audit.conftest import Place


async def test_an_entry_is_in_the_collection_and_linked_when_record_returns(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    done = await trail.record("UPDATE", "wallet", "7", actor="alice", before={"a": 1}, after={})
    assert done.consistency == "committed"
    entry = (await trail.get(done.id)).body()
    assert (entry["user_id"], entry["tenant_id"]) == ("alice", str(tenant))
    assert entry["changes"] == {"a": {"before": 1}}
    [head] = await place.store.chains.heads(tenant)
    assert (head.seq, head.day) == (1, entry["timestamp"].date())


async def test_an_entry_of_a_unit_of_work_arrives_with_its_commit(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    async with place.store.unit_of_work(tenant=tenant):
        done = await place.trail.record("CREATE", "wallet", "8")
        assert done.consistency == "queued"
    await place.deliver()
    assert (await trail.get(done.id)).body()["tenant_id"] == str(tenant)
    [head] = await place.store.chains.heads(tenant)
    assert head.seq == 1


async def test_an_entry_of_a_unit_of_work_goes_with_its_rollback(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    with pytest.raises(RuntimeError, match="undone"):
        async with place.store.unit_of_work(tenant=tenant):
            await trail.record("CREATE", "wallet", "9")
            raise RuntimeError("undone")
    await place.deliver()
    assert not (await trail.find(Query())).records


async def test_an_entry_of_a_savepoint_that_is_undone_goes_with_it(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    async with place.store.unit_of_work(tenant=tenant) as work:
        kept = await trail.record("CREATE", "wallet", "kept")
        with pytest.raises(RuntimeError):
            async with work.savepoint("part"):
                await trail.record("CREATE", "wallet", "undone")
                raise RuntimeError
    await place.deliver()
    assert [entry.key for entry in (await trail.find(Query())).records] == [kept.id]


async def test_a_task_that_outlives_its_unit_of_work_records_by_itself(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    ended = asyncio.Event()

    async def later() -> str:
        await ended.wait()
        return (await trail.record("EXECUTE", "job")).consistency

    async with place.store.unit_of_work(tenant=tenant):
        task = asyncio.create_task(later())
    ended.set()
    assert await task == "committed"


async def test_another_tenants_entry_cannot_join_a_unit_of_work(
    place: Place, trail: AuditTrail
) -> None:
    async with place.store.unit_of_work(tenant=uuid4()):
        with pytest.raises(UsageError, match="another tenant"):
            await trail.record("CREATE", "wallet")


async def test_without_a_tenant_nothing_is_recorded_or_read(place: Place) -> None:
    with pytest.raises(TenantRequiredError):
        await place.trail.record("CREATE", "wallet")
    with pytest.raises(TenantRequiredError):
        await place.trail.find(Query())
    with pytest.raises(TenantRequiredError):
        await place.trail.get("any")


async def test_a_tenant_sees_its_own_entries_only(place: Place, trail: AuditTrail) -> None:
    done = await trail.record("CREATE", "wallet")
    other = place.trail.within(Scope(tenant=uuid4()))
    assert not (await other.find(Query())).records
    with pytest.raises(NotFoundError):
        await other.get(done.id)
    assert not [entry async for entry in other.each(Query())]


async def test_details_cannot_forge_who_when_or_whose(trail: AuditTrail, tenant: UUID) -> None:
    forged = {"user_id": "root", "tenant_id": "x", "timestamp": "1999-01-01", "_id": "1", "n": 5}
    done = await trail.record("READ", "wallet", actor="bob", details=forged)
    entry = (await trail.get(done.id)).body()
    assert (entry["user_id"], entry["tenant_id"], entry["n"]) == ("bob", str(tenant), 5)
    assert entry["timestamp"].year > 2000


async def test_an_unknown_action_is_refused(trail: AuditTrail) -> None:
    with pytest.raises(ValidationError, match="action"):
        await trail.record("EXPLODE", "wallet")  # type: ignore[arg-type]


async def test_with_the_collection_away_an_entry_is_queued_and_arrives_once(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    place.proxy.cut()
    done = [await trail.record("UPDATE", "wallet", str(n)) for n in range(5)]
    assert {one.consistency for one in done} == {"queued"}
    place.proxy.restore()
    await place.deliver()
    found = [entry.key async for entry in trail.each(Query(order="timestamp"))]
    assert found == [one.id for one in done]
    [head] = await place.store.chains.heads(tenant)
    assert head.seq == 5


async def test_five_hundred_at_once_are_linked_in_few_statements(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    before = place.trail._links.counts.batches
    await asyncio.gather(*(trail.record("READ", "wallet", str(n)) for n in range(500)))
    [head] = await place.store.chains.heads(tenant)
    assert head.seq == 500
    assert place.trail._links.counts.batches - before < 100
