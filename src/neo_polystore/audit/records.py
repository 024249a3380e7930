"""The audit trail of one tenant as a port of records, for whoever imports and asks by data type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self

from neo_polystore.audit.trail import AuditTrail
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version
from neo_polystore.records.query import MAX_MEMBERS, Query
from neo_polystore.records.results import Page, Rejection, Written
from neo_polystore.records.rules import ID
from neo_polystore.records.scope import Scope

TENANT = "tenant_id"


class TenantEntries:
    """See `ports.documents`; the entries of the trail's tenant, which are written once.

    What is written without a tenant becomes this tenant's; what is another's is rejected. Every
    call raises TenantRequiredError where the trail has none.
    """

    def __init__(self, trail: AuditTrail):
        self._trail = trail
        self._port = trail.documents

    @property
    def record(self) -> type[Document]:
        """The record model."""
        return self._port.record

    def within(self, scope: Scope) -> Self:
        """The entries of another tenant."""
        return type(self)(self._trail.within(scope))

    async def write(self, records: Sequence[Document]) -> Written:
        """Store and link what is new; an entry that is there stays as it is."""
        written, mine, places = Written(), [], []
        stored = await self._stored([record.key for record in records])
        for place, record in enumerate(records):
            entry = self._owned(record)
            there = stored.get(record.key)
            if self._owner(entry) != self._tenant:
                written.rejected.append(Rejection(place, TENANT, "is another tenant's"))
            elif there is None:
                mine.append(entry)
                places.append(place)
            elif self._owner(there) != self._tenant:
                written.rejected.append(Rejection(place, ID, "is taken by another document"))
            else:
                written.existing += 1
        await self._trail.link([entry for entry in stored.values() if self._is_mine(entry)])
        done = await self._trail.write(mine)
        done.rejected = [
            Rejection(places[each.index], each.field, each.reason) for each in done.rejected
        ]
        written += done
        written.rejected.sort(key=lambda rejection: rejection.index)
        return written

    async def get(self, key: str) -> Document:
        """One of this tenant's entries; raises NotFoundError."""
        return await self._trail.get(key)

    async def find(self, query: Query) -> Page[Document]:
        """One page."""
        return await self._port.find(self._own(query))

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """One page of some fields."""
        return await self._port.project(self._own(query), fields)

    async def count(self, query: Query) -> int:
        """How many satisfy the conditions."""
        return await self._port.count(self._own(query))

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """The sum of a declared number."""
        return await self._port.sum(self._own(query), field)

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """The different values of a field or path."""
        return await self._port.distinct(self._own(query), field)

    async def native(self, key: str) -> dict[str, Any]:
        """The stored entry as the engine's own client sees it."""
        await self.get(key)
        return await self._port.native(key)

    async def versions(self, key: str) -> list[Version]:
        """Whatever the collection keeps of an entry."""
        await self.get(key)
        return await self._port.versions(key)

    @property
    def _tenant(self) -> str:
        return str(self._trail.tenant)

    def _own(self, query: Query) -> Query:
        return query.where(TENANT, self._tenant)

    def _owned(self, record: Document) -> Document:
        body = record.body()
        return record if TENANT in body else type(record).stored({**body, TENANT: self._tenant})

    def _owner(self, entry: Document) -> Any:
        return entry.body().get(TENANT)

    def _is_mine(self, entry: Document) -> bool:
        return bool(self._owner(entry) == self._tenant)

    async def _stored(self, keys: Sequence[str]) -> Mapping[str, Document]:
        """The entries with these keys that are there, whoever's they are."""
        found: dict[str, Document] = {}
        for start in range(0, len(keys), MAX_MEMBERS):
            part = keys[start : start + MAX_MEMBERS]
            query = Query(limit=MAX_MEMBERS).where("document_id", part, "in")
            found |= {entry.key: entry for entry in await self._port.find(query)}
        return found


if TYPE_CHECKING:
    from neo_polystore.ports.documents import Documents

    def _is_port(entries: TenantEntries) -> Documents:
        return entries
