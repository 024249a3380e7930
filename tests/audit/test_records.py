"""The trail as a port of records: a tenant imports and sees its own entries, and nobody else's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from neo_polystore.audit.records import TenantEntries
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.errors import NotFoundError, TenantRequiredError
from neo_polystore.records.documents import Document, document_models
from neo_polystore.records.query import Query
from neo_polystore.records.scope import Scope
from tests.audit.conftest import Place

LONG_AGO = datetime(2023, 7, 10, 12, tzinfo=UTC)


def imported(**more: Any) -> Document:
    """An entry as a file of somebody else's has it."""
    body = {"timestamp": LONG_AGO, "user_id": "u", "action": "READ", "resource": "kms"}
    return document_models()["audit_logs"].parse({"_id": uuid4().hex, **body, **more})


async def test_what_is_imported_becomes_the_tenants_and_is_linked(
    trail: AuditTrail, tenant: UUID
) -> None:
    port = TenantEntries(trail)
    first, second = imported(), imported(tenant_id=str(tenant))
    assert (await port.write([first, second])).new == 2
    assert (await port.get(first.key)).body()["tenant_id"] == str(tenant)
    assert await port.count(Query()) == 2
    assert [entry.key for entry in await trail.find(Query())] == sorted(
        [first.key, second.key], reverse=True
    )
    [verdict] = [verdict async for verdict in trail.verify()]
    assert (verdict.day, verdict.entries, verdict.links) == (LONG_AGO.date(), 2, 2)
    assert verdict.is_sound


async def test_an_entry_is_written_once(trail: AuditTrail) -> None:
    port = TenantEntries(trail)
    entry = imported()
    await port.write([entry])
    changed = type(entry).stored({**entry.body(), "user_id": "somebody else"})
    written = await port.write([entry, changed])
    assert (written.new, written.existing, written.replaced) == (0, 2, 0)
    assert (await port.get(entry.key)).body()["user_id"] == "u"
    assert all([verdict.is_sound async for verdict in trail.verify()])


async def test_another_tenants_entry_is_neither_seen_nor_replaced(
    place: Place, trail: AuditTrail, tenant: UUID
) -> None:
    entry = imported()
    await TenantEntries(trail).write([entry])
    other = TenantEntries(trail).within(Scope(tenant=uuid4()))
    assert await other.count(Query()) == 0
    assert await other.distinct(Query(), "user_id") == []
    assert not (await other.find(Query())).records
    assert not (await other.project(Query(), ["user_id"])).records
    for read in (other.get, other.native, other.versions):
        with pytest.raises(NotFoundError):
            await read(entry.key)
    written = await other.write([imported(), entry, imported(tenant_id=str(tenant))])
    assert written.new == 1
    assert [(each.index, each.field) for each in written.rejected] == [(1, "_id"), (2, "tenant_id")]
    assert (await TenantEntries(trail).get(entry.key)).body()["tenant_id"] == str(tenant)


async def test_a_bad_entry_is_rejected_at_its_place(trail: AuditTrail) -> None:
    bad = document_models()["audit_logs"].stored({**imported().body(), "action": "EXPLODE"})
    entry = imported()
    port = TenantEntries(trail)
    await port.write([entry])
    written = await port.write([entry, bad, imported()])
    assert (written.new, written.existing) == (1, 1)
    assert [(each.index, each.field) for each in written.rejected] == [(1, "action")]


async def test_without_a_tenant_nothing_is_stored_or_read(place: Place) -> None:
    port = TenantEntries(place.trail)
    for call in (port.write([imported()]), port.find(Query()), port.count(Query())):
        with pytest.raises(TenantRequiredError):
            await call
