"""Recording and reading entries: with the change that they tell of, or at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Literal, Self, cast
from uuid import UUID

import structlog

from neo_polystore.audit.changes import Values, changes, plain
from neo_polystore.audit.digest import sealed
from neo_polystore.audit.verification import DayVerdict, verify
from neo_polystore.coalesce import Coalescer
from neo_polystore.errors import (
    FieldProblem,
    NotFoundError,
    PolystoreError,
    TenantRequiredError,
    UsageError,
    ValidationError,
)
from neo_polystore.ids import uuid7
from neo_polystore.ports.audit import Chains, Sealed
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.relational import UnitOfWork, current_work
from neo_polystore.records.catalog import record_type
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.rules import ID
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.records.values import to_milliseconds

COLLECTION: Final = "audit_logs"
LANES: Final = 2
ENTRIES_AT_ONCE: Final = 128
LINKS_AT_ONCE: Final = 500
GRACE: Final = timedelta(minutes=1)
"""How long an entry may be without its link before that is a finding: both are on their way."""

Action = Literal["CREATE", "READ", "UPDATE", "DELETE", "EXECUTE"]

_logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an act came from, as far as that is known."""

    request_id: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None


NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Recorded:
    """The entry's id, and whether it is in its collection (`committed`) or on its way there from
    the outbox (`queued`); inside a unit of work it is queued by that work's commit."""

    id: str
    consistency: Literal["committed", "queued"]


@dataclass(slots=True)
class TrailCounts:
    """What happened since the start; `unlinked` entries were stored and wait for their link."""

    recorded: int = 0
    queued: int = 0
    unlinked: int = 0


class AuditTrail:
    """The audit trail of one tenant: `within(Scope(tenant=...))`; without a tenant it has none.

    Entries live in the collection `audit_logs`. Each is linked to the chain of its tenant and
    day, which another store holds: see `ports.audit`.
    """

    def __init__(
        self, documents: Documents, chains: Chains, *, masks: frozenset[str] = frozenset()
    ):
        self.counts = TrailCounts()
        self.chains = chains
        self.documents = documents
        self._masks = masks
        self._scope = NOBODY
        self._entries = Coalescer(
            self._send_entries, lanes=LANES, max_weight=ENTRIES_AT_ONCE, max_waiting=100_000
        )
        self._links = Coalescer(
            self._send_links, lanes=1, max_weight=LINKS_AT_ONCE, weigh=len, max_waiting=100_000
        )

    @property
    def tenant(self) -> UUID:
        """Whose trail it is; raises TenantRequiredError where it is nobody's."""
        return self._tenant("tenant")

    def within(self, scope: Scope) -> Self:
        """The trail of a tenant, recording on behalf of its service and user."""
        bound = copy(self)
        bound._scope = scope
        return bound

    async def record(
        self,
        action: Action,
        resource: str,
        resource_id: str | None = None,
        *,
        actor: str | None = None,
        before: Values = None,
        after: Values = None,
        error: str | None = None,
        origin: Origin = NOWHERE,
        details: Mapping[str, Any] | None = None,
    ) -> Recorded:
        """Record that `actor` did `action` to a resource.

        Inside a unit of work the entry is part of it: committed and delivered with it, or undone
        with it, and it belongs to its tenant. Outside, it is durable when this returns.
        `before` and `after` become `changes`, field by field, secrets masked; `error` says why it
        failed, None that it did not; `details` are kept as further fields. Without an actor it is
        the scope's user, or else `system`.

        Raises TenantRequiredError without a tenant, ValidationError for what the collection does
        not take, and UnavailableError where neither the collection nor the outbox can be reached.
        """
        work = current_work()
        scope = self._scope if work is None or self._scope.tenant else work.scope
        body = self._body(
            scope,
            {
                **plain(details or {}, self._masks),
                "user_id": actor or getattr(scope, "user", None) or "system",
                "action": action,
                "resource": resource,
                "resource_id": resource_id,
                "changes": changes(before, after, masks=self._masks) or None,
                "success": error is None,
                "error_message": error,
                "request_id": origin.request_id,
                "ip_address": origin.ip_address,
                "user_agent": origin.user_agent,
            },
        )
        if work is not None:
            return await self._join(work, _model().parse(body))
        return await self._entries.call(body)

    async def write(self, entries: Sequence[Document]) -> Written:
        """Store entries that were made elsewhere; those that have a tenant are linked."""
        written = await self.documents.write(entries)
        self.counts.recorded += written.new
        if written.consistency == "queued":
            self.counts.queued += written.new  # the relay links what it delivers
        else:
            bad = {rejection.index for rejection in written.rejected}
            await self.link([e for place, e in enumerate(entries) if place not in bad])
        return written

    async def link(self, entries: Sequence[Document]) -> int:
        """Link entries that are stored; what cannot be linked now waits for the job that does."""
        links = [link for link in map(sealed, entries) if link is not None]
        if not links:
            return 0
        try:
            return await self._links.call(links)
        except PolystoreError as error:
            self.counts.unlinked += len(links)
            _logger.warning("audit entries wait for their links", count=len(links), why=str(error))
            return 0

    async def get(self, entry: str) -> Document:
        """One entry of this tenant; raises NotFoundError."""
        tenant = str(self._tenant("get"))
        found = await self.documents.get(entry)
        if getattr(found, "tenant_id", None) != tenant:
            raise NotFoundError(f"no audit entry {entry!r}")
        return found

    async def find(self, query: Query) -> Page[Document]:
        """One page of this tenant's entries, newest first where the query names no order."""
        return await self.documents.find(self._own(query))

    async def each(self, query: Query) -> AsyncIterator[Document]:
        """All of this tenant's entries that satisfy the query, read in pages."""
        query = replace(self._own(query), limit=1000)
        while True:
            page = await self.documents.find(query)
            for entry in page.records:
                yield entry
            if page.next is None:
                return
            query = replace(query, after=page.next)

    async def verify(
        self, *, first: date | None = None, last: date | None = None
    ) -> AsyncIterator[DayVerdict]:
        """Compare every entry of the tenant with its link, and every chain with itself, by day."""
        tenant = self._tenant("verify")
        async for verdict in verify(
            self.documents, self.chains, tenant, first=first, last=last, grace=GRACE
        ):
            yield verdict

    def _body(self, scope: Scope, fields: dict[str, Any]) -> dict[str, Any]:
        body = {name: value for name, value in fields.items() if value is not None}
        body |= {
            ID: str(uuid7()),
            "timestamp": to_milliseconds(datetime.now(UTC)),
            "tenant_id": str(_tenant_of(scope, "record")),
        }
        if scope.service:
            body.setdefault("service", scope.service)
        return body

    async def _join(self, work: UnitOfWork, entry: Document) -> Recorded:
        """Past the tenant of the work itself no entry can go: the outbox holds one tenant's."""
        if work.scope.tenant is not None and str(work.scope.tenant) != entry.body()["tenant_id"]:
            raise UsageError("the unit of work acts for another tenant than this audit trail")
        await work.publish_record(entry)
        self.counts.recorded += 1
        return Recorded(entry.key, "queued")

    async def _send_entries(self, bodies: list[dict[str, Any]]) -> list[Recorded | ValidationError]:
        """Entries of many callers, stored and linked together."""
        stored = _model().stored  # the collection checks what it is given
        written = await self.write([stored(body) for body in bodies])
        answers: list[Recorded | ValidationError] = [
            Recorded(body[ID], written.consistency) for body in bodies
        ]
        for rejection in written.rejected:
            problem = FieldProblem(rejection.field, rejection.reason)
            answers[rejection.index] = ValidationError([problem], operation="audit.record")
        return answers

    async def _send_links(self, calls: list[list[Sealed]]) -> list[int]:
        """How many were added in all is told to the first: who asks for it calls alone."""
        added = await self.chains.link([link for links in calls for link in links])
        return [added, *([0] * (len(calls) - 1))]

    def _own(self, query: Query) -> Query:
        query = query.where("tenant_id", str(self._tenant("find")))
        return replace(query, order="timestamp", descending=True) if query.order is None else query

    def _tenant(self, verb: str) -> UUID:
        return _tenant_of(self._scope, verb)


def _model() -> type[Document]:
    return cast(type[Document], record_type(COLLECTION))


def _tenant_of(scope: Scope, verb: str) -> UUID:
    if scope.tenant is None:
        raise TenantRequiredError(
            "audit entries belong to a tenant and this call has none", operation=f"audit.{verb}"
        )
    return scope.tenant
