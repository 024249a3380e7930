"""The cached form of every data type that has one; see `cached_records` for what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from pydantic import SecretStr

from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.accounts import Accounts, Roles, Sessions
from neo_polystore.ports.cache import Cache, Place
from neo_polystore.ports.contracts import Contracts
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.networks import Networks
from neo_polystore.ports.transactions import Transactions
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.accounts import Session, Tenant, User, user_group
from neo_polystore.records.contracts import Contract
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.wrappers.cached_entry import LARGEST
from neo_polystore.wrappers.cached_guard import BUDGET, Later
from neo_polystore.wrappers.cached_metrics import CachedMetrics
from neo_polystore.wrappers.cached_query import QueryCache
from neo_polystore.wrappers.cached_read import Wanted
from neo_polystore.wrappers.cached_records import CachedRecords, Caching
from neo_polystore.wrappers.cached_sessions import CachedSessions

__all__ = ["CachedRecords", "Caching", "cached"]

_CHAIN = r"(0|[1-9]\d{0,18})"
_ADDRESS = r"(0x[0-9a-f]{40}|[1-9A-Za-z][0-9A-Za-z]{24,254})"


class CachedAccounts(CachedRecords[User, Accounts]):
    """Users; tenants themselves and passwords always come from the primary."""

    canonical: ClassVar[re.Pattern[str]] = re.compile(
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    )

    async def create_tenant(self, tenant: Tenant) -> None:
        """To the primary."""
        await self.primary.create_tenant(tenant)

    async def get_tenant(self) -> Tenant:
        """From the primary."""
        return await self.primary.get_tenant()

    async def verify_password(self, username: str, password: str) -> User:
        """From the primary: a verdict that a cache must not give."""
        return await self.primary.verify_password(username, password)

    @property
    def roles(self) -> Roles:
        """The primary's."""
        return self.primary.roles

    @property
    def sessions(self) -> Sessions:
        """Read through the cache; what ends one is seen by every process at once."""
        return CachedSessions(self.primary.sessions, self)

    def of_session(self, session: UUID) -> Place:
        """Where a session is cached."""
        return self._cache.in_family("session", str(session))

    def of_group(self, group: str) -> Place:
        """The tag of a group of users' sessions."""
        return self.tag(f"sessions-{group}")

    async def read_session(self, wanted: Wanted[Session]) -> Session | None:
        """Through the cache, where there is a tenant and no unit of work."""
        if self._touched is not None or self._scope.tenant is None:
            return await wanted.load()
        owner = f"{self._owner} {wanted.owner}"
        return (await self._reading.get(replace(wanted, owner=owner))).record

    def places(self, keys: Iterable[str]) -> list[Place]:
        """With a user change the sessions that he may hold no longer."""
        keys = list(keys)
        groups = {user_group(UUID(key)) for key in keys if self.canonical.fullmatch(key)}
        return super().places(keys) + [self.of_group(group) for group in groups]

    async def set_mfa_secret(self, user: UUID, secret: bytes | None) -> None:
        """To the primary, then invalidate the user, who shows whether a code is asked for."""
        async with self.changing([str(user)]):
            await self.primary.set_mfa_secret(user, secret)

    async def mfa_uri(self, user: UUID, *, issuer: str) -> SecretStr:
        """From the primary."""
        return await self.primary.mfa_uri(user, issuer=issuer)

    async def verify_totp(self, user: UUID, code: str) -> User:
        """From the primary."""
        return await self.primary.verify_totp(user, code)


class CachedNetworks(CachedRecords[Network, Networks]):
    """Networks, the same for all tenants."""

    tenant_owned: ClassVar[bool] = False
    canonical: ClassVar[re.Pattern[str] | None] = re.compile(_CHAIN)


class CachedWallets(CachedRecords[Wallet, Wallets]):
    """Wallets of the scope's tenant."""

    canonical: ClassVar[re.Pattern[str] | None] = re.compile(f"{_CHAIN}:{_ADDRESS}")


class CachedTransactions(CachedRecords[Transaction, Transactions]):
    """Transactions, the same for all tenants."""

    tenant_owned: ClassVar[bool] = False
    written_once: ClassVar[bool] = True
    canonical: ClassVar[re.Pattern[str] | None] = re.compile(f"{_CHAIN}:0x[0-9a-f]{{64}}")

    async def apply_receipts(self, receipts: Sequence[Receipt]) -> Written:
        """To the primary, then invalidate the transactions that the receipts belong to."""
        async with self.changing(receipt.key for receipt in receipts):
            return await self.primary.apply_receipts(receipts)


class CachedContracts(CachedRecords[Contract, Contracts]):
    """Contracts, the same for all tenants."""

    tenant_owned: ClassVar[bool] = False
    canonical: ClassVar[re.Pattern[str] | None] = re.compile(f"{_CHAIN}:{_ADDRESS}")


class CachedDocuments(CachedRecords[Document, Documents]):
    """Documents of one collection; their keys have one spelling each."""

    tenant_owned: ClassVar[bool] = False
    canonical: ClassVar[re.Pattern[str] | None] = re.compile(r".+", re.DOTALL)

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """From the primary."""
        return await self.primary.project(query, fields)

    async def native(self, key: str) -> dict[str, Any]:
        """From the primary."""
        return await self.primary.native(key)

    async def versions(self, key: str) -> list[Version]:
        """From the primary."""
        return await self.primary.versions(key)


_WRAPPERS: Mapping[str, type[CachedRecords[Any, Any] | CachedMetrics]] = {
    "accounts": CachedAccounts,
    "networks": CachedNetworks,
    "wallets": CachedWallets,
    "transactions": CachedTransactions,
    "contracts": CachedContracts,
    "contract_metadata": CachedDocuments,
    "metrics": CachedMetrics,
}


COMMON = frozenset(
    name
    for name, wrapper in _WRAPPERS.items()
    if issubclass(wrapper, CachedRecords) and not wrapper.tenant_owned
)
"""The cached data types that no tenant owns."""


def queries(caching: Caching) -> QueryCache:
    """The cache of query results; tags of data types that no tenant owns are common to all."""
    return QueryCache(caching.cache, caching.reading(), common=COMMON)


def cached(
    data_type: str,
    primary: Any,
    cache: Cache,
    *,
    budget: float = BUDGET,
    largest: int = LARGEST,
    later: Later | None = None,
) -> Any:
    """The port of a data type behind a cache. UnsupportedError where it cannot be cached: sealed
    blobs never are, nor what has no key to be read by."""
    wrapper = _WRAPPERS.get(data_type)
    if wrapper is None:
        able = ", ".join(sorted(_WRAPPERS))
        raise UnsupportedError(
            f"{data_type} cannot be cached (only {able}):"
            " leave its cache empty in the routing table"
        )
    if issubclass(wrapper, CachedMetrics):
        return wrapper(data_type, primary, cache, budget=budget)
    return wrapper(data_type, primary, Caching(cache, budget, largest, later))


if TYPE_CHECKING:
    _accounts: type[Accounts] = CachedAccounts
    _networks: type[Networks] = CachedNetworks
    _wallets: type[Wallets] = CachedWallets
    _transactions: type[Transactions] = CachedTransactions
    _contracts: type[Contracts] = CachedContracts
    _documents: type[Documents] = CachedDocuments
