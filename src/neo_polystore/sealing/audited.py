"""Blobs that enclaves sealed, with an entry in the audit trail for every operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from decimal import Decimal
from typing import Any, Final, Generic, Self, TypeVar

from neo_polystore.audit.trail import Action, AuditTrail
from neo_polystore.errors import PolystoreError
from neo_polystore.ports.sealed import Blobs, Sealed, ServiceBlobs
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.records.sealed import BlobFacts, EnclaveBlob, SealedBlob, ServiceBlob

B = TypeVar("B", bound=EnclaveBlob)
T = TypeVar("T")

RESOURCE: Final = "sealed_blob"
NAMED: Final = 100
"""Keys that one entry names; of more it tells how many."""


class AuditedBlobs(Generic[B]):
    """`Blobs` over others. Entries name keys, never bytes; what is refused is recorded too.

    An answer is given when its entry is durable. Without a tenant there is no trail, and nothing
    to be seen either.
    """

    def __init__(self, blobs: Blobs[B], trail: AuditTrail):
        self._blobs = blobs
        self._trail = trail
        self._scope = NOBODY

    @property
    def record(self) -> type[B]:
        """The record model."""
        return self._blobs.record

    def within(self, scope: Scope) -> Self:
        """The same for a tenant, whose trail it records in."""
        bound = copy(self)
        bound._blobs, bound._trail = self._blobs.within(scope), self._trail.within(scope)
        bound._scope = scope
        return bound

    async def write(self, records: Sequence[B]) -> Written:
        """As the port does."""
        keys = [record.key for record in records]
        return await self._audited("UPDATE", keys, lambda: self._blobs.write(records))

    async def get(self, key: str) -> B:
        """As the port does."""
        return await self._audited("READ", [key], lambda: self._blobs.get(key))

    async def find(self, query: Query) -> Page[B]:
        """As the port does; the entry names what was found."""
        page = await self._refusals("READ", [], lambda: self._blobs.find(query))
        await self._record("READ", [record.key for record in page.records])
        return page

    async def count(self, query: Query) -> int:
        """As the port does."""
        return await self._audited("READ", [], lambda: self._blobs.count(query))

    async def sum(self, query: Query, field: str) -> int | Decimal | float:
        """As the port does."""
        return await self._audited("READ", [], lambda: self._blobs.sum(query, field))

    async def distinct(self, query: Query, field: str) -> list[Any]:
        """As the port does."""
        return await self._audited("READ", [], lambda: self._blobs.distinct(query, field))

    async def delete(self, key: str) -> None:
        """As the port does."""
        await self._audited("DELETE", [key], lambda: self._blobs.delete(key))

    async def _audited(
        self, action: Action, keys: list[str], work: Callable[[], Awaitable[T]]
    ) -> T:
        done = await self._refusals(action, keys, work)
        await self._record(action, keys)
        return done

    async def _refusals(
        self, action: Action, keys: list[str], work: Callable[[], Awaitable[T]]
    ) -> T:
        try:
            return await work()
        except PolystoreError as error:
            await self._record(action, keys, error=f"{type(error).__name__}: {error.message}")
            raise

    async def _record(self, action: Action, keys: list[str], *, error: str | None = None) -> None:
        if self._scope.tenant is None:
            return
        about = keys[0][:1000].replace("\0", "�") if len(keys) == 1 else None
        details: dict[str, Any] = {"count": len(keys)}
        if len(keys) != 1:
            details["items"] = [key[:1000].replace("\0", "�") for key in keys[:NAMED]]
        await self._trail.record(action, RESOURCE, about, error=error, details=details)


class AuditedServiceBlobs(AuditedBlobs[ServiceBlob]):
    """`ServiceBlobs` over others; their trail is the system's."""

    def __init__(self, blobs: ServiceBlobs, trail: AuditTrail):
        super().__init__(blobs, trail)
        self._blobs: ServiceBlobs

    async def facts(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[BlobFacts]:
        """As the port does; the entry names what was found."""
        found = await self._refusals(
            "READ", [], lambda: self._blobs.facts(prefix=prefix, after=after, limit=limit)
        )
        await self._record("READ", [one.data_key for one in found])
        return found


_: type[Sealed] = AuditedBlobs[SealedBlob]
__: type[ServiceBlobs] = AuditedServiceBlobs
