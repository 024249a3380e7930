"""The facade: one typed attribute per data type, and the lifecycle of the stores behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast
from uuid import UUID

from neo_polystore.audit.records import TenantEntries
from neo_polystore.audit.trail import COLLECTION as AUDIT
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.errors import UnsupportedError, UsageError
from neo_polystore.ports.accounts import Accounts
from neo_polystore.ports.analytics import Analytics
from neo_polystore.ports.cache import Cache
from neo_polystore.ports.contracts import Contracts
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.events import Events
from neo_polystore.ports.limits import Limits
from neo_polystore.ports.logs import Logs
from neo_polystore.ports.metrics import Metrics
from neo_polystore.ports.networks import Networks
from neo_polystore.ports.objects import Objects
from neo_polystore.ports.records import Records
from neo_polystore.ports.relational import Isolation, Relational, UnitOfWork
from neo_polystore.ports.retention_policy import Policy
from neo_polystore.ports.sealed import Sealed
from neo_polystore.ports.store import Store
from neo_polystore.ports.transactions import Transactions
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.catalog import record_type
from neo_polystore.records.scope import Scope
from neo_polystore.routing import RoutingTable
from neo_polystore.sealing.service import Sealing

T = TypeVar("T")

_BOUND = 1_000
"""Ports that are kept for their scopes: requests of the same caller follow on each other."""


class Polystore:
    """Every data type by name; `open_polystore` makes one. Holds no logic of its own.

    Tenant-owned data types (accounts, wallets, sealed) act for a tenant through
    `polystore.wallets.within(Scope(tenant=...))`; without one they show nothing.
    """

    def __init__(
        self,
        *,
        routing: RoutingTable,
        stores: Mapping[str, Store],
        ports: Mapping[str, Any],
        audit: AuditTrail | None = None,
        relational: Relational | None = None,
        sealing: Sealing | None = None,
        retention: Policy | None = None,
    ):
        self.routing = routing
        self.retention = retention or Policy()
        self.stores = stores
        self._ports = ports
        self._audit = audit
        self._transactions = relational
        self._sealing = sealing
        self._bound: dict[tuple[str, Scope], tuple[Any, Records[Any]]] = {}

    @property
    def ports(self) -> Mapping[str, Any]:
        """The ports that are open, by data type."""
        return self._ports

    def port(self, data_type: str) -> Any:
        """The port of a data type; UsageError for an unknown one, or one that was not opened."""
        try:
            return self._ports[data_type]
        except KeyError:
            self.routing[data_type]
            raise UsageError(
                f"data type {data_type!r} is not open: name it in open_polystore(data_types=...)"
            ) from None

    def records(self, data_type: str, scope: Scope | None = None) -> Records[Any]:
        """The record port of a data type, within `scope`; UsageError where it holds no records.

        Audit entries within a scope are those of its tenant, where the audit trail is open.
        """
        if scope is None:
            record_type(data_type)
            return cast("Records[Any]", self.port(data_type))
        known = self._bound.get((data_type, scope))
        if known is not None and known[0] is self._ports.get(data_type):
            return known[1]
        return self._bind(data_type, scope)

    def _bind(self, data_type: str, scope: Scope) -> Records[Any]:
        record_type(data_type)
        if data_type == AUDIT and self._audit is not None:
            return cast("Records[Any]", TenantEntries(self._audit.within(scope)))
        port = self.port(data_type)
        bound = cast("Records[Any]", port.within(scope))
        if len(self._bound) == _BOUND:
            self._bound.clear()
        self._bound[data_type, scope] = (port, bound)
        return bound

    def unit_of_work(
        self,
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> AbstractAsyncContextManager[UnitOfWork]:
        """One relational transaction on behalf of a tenant and service, done by `user`."""
        return self._relational().unit_of_work(
            tenant=tenant, service=service, user=user, isolation=isolation
        )

    async def execute_in_transaction(
        self,
        name: str,
        work: Callable[[UnitOfWork], Awaitable[T]],
        *,
        tenant: UUID | None = None,
        service: str | None = None,
        user: str | None = None,
        isolation: Isolation | None = None,
    ) -> T:
        """The result of a named unit of work, run again where it lost; see `ports.relational`."""
        return await self._relational().execute_in_transaction(
            name, work, tenant=tenant, service=service, user=user, isolation=isolation
        )

    @property
    def has_audit(self) -> bool:
        """Whether the audit trail is open."""
        return self._audit is not None

    @property
    def audit(self) -> AuditTrail:
        """The audit trail; a tenant's is `polystore.audit.within(Scope(tenant=...))`."""
        if self._audit is None:
            raise UsageError(
                "the audit trail is not open: name audit_logs in open_polystore(data_types=...)"
            )
        return self._audit

    @property
    def sealing(self) -> Sealing:
        """Sealing, opening and the keys of both; blobs that enclaves sealed are `sealed`."""
        if self._sealing is None:
            raise UsageError(
                "sealing is not open: it takes its store and the audit trail, name sealed and"
                " audit_logs in open_polystore(data_types=...)"
            )
        return self._sealing

    def _relational(self) -> Relational:
        if self._transactions is not None:
            return self._transactions
        raise UnsupportedError("no store that is open has transactions over several data types")

    @property
    def accounts(self) -> Accounts:
        """Tenants and users."""
        return cast(Accounts, self.port("accounts"))

    @property
    def networks(self) -> Networks:
        """Chains."""
        return cast(Networks, self.port("networks"))

    @property
    def wallets(self) -> Wallets:
        """Addresses of users."""
        return cast(Wallets, self.port("wallets"))

    @property
    def transactions(self) -> Transactions:
        """Transactions of chains."""
        return cast(Transactions, self.port("transactions"))

    @property
    def contracts(self) -> Contracts:
        """Contracts on chains."""
        return cast(Contracts, self.port("contracts"))

    @property
    def events(self) -> Events:
        """Streams of domain events."""
        return cast(Events, self.port("events"))

    @property
    def metrics(self) -> Metrics:
        """Time series."""
        return cast(Metrics, self.port("metrics"))

    @property
    def logs(self) -> Logs:
        """Log lines."""
        return cast(Logs, self.port("logs"))

    @property
    def analytics(self) -> Analytics:
        """Facts to aggregate."""
        return cast(Analytics, self.port("analytics"))

    @property
    def sealed(self) -> Sealed:
        """Blobs that enclaves sealed."""
        return cast(Sealed, self.port("sealed"))

    @property
    def objects(self) -> Objects:
        """Named bytes."""
        return cast(Objects, self.port("objects"))

    @property
    def cache(self) -> Cache:
        """Hot values by key."""
        return cast(Cache, self.port("cache"))

    @property
    def limits(self) -> Limits:
        """Rate limits."""
        return cast(Limits, self.port("limits"))

    def documents(self, collection: str) -> Documents:
        """The documents of one collection of `mongo/`."""
        return cast(Documents, self.port(collection))
