"""The cached form of every data type that has one: the table, and the forms that have few verbs of
their own. `records` says what they promise."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.cache import Cache
from neo_polystore.ports.contracts import Contracts
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.networks import Networks
from neo_polystore.ports.transactions import Transactions
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.contracts import Contract
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version
from neo_polystore.records.networks import Network
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page, Written
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.wrappers.cached.accounts import CachedAccounts
from neo_polystore.wrappers.cached.entry import LARGEST
from neo_polystore.wrappers.cached.guard import BUDGET, Later
from neo_polystore.wrappers.cached.metrics import CachedMetrics
from neo_polystore.wrappers.cached.near import NearSize
from neo_polystore.wrappers.cached.query import QueryCache
from neo_polystore.wrappers.cached.read import Caching
from neo_polystore.wrappers.cached.records import CachedRecords

__all__ = ["CachedRecords", "Caching", "NearSize", "cached", "queries"]

_CHAIN = r"(0|[1-9]\d{0,18})"
_ADDRESS = r"(0x[0-9a-f]{40}|[1-9A-Za-z][0-9A-Za-z]{24,254})"


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

RARE = frozenset(
    name
    for name, wrapper in _WRAPPERS.items()
    if issubclass(wrapper, CachedRecords) and wrapper.written_once
)
"""Those whose writes end a tag only if it is used."""


def queries(caching: Caching) -> QueryCache:
    """The cache of query results; tags of data types that no tenant owns are common to all."""
    return QueryCache(caching.cache, caching.reading(), common=COMMON, rare=RARE)


def cached(
    data_type: str,
    primary: Any,
    cache: Cache,
    *,
    budget: float = BUDGET,
    largest: int = LARGEST,
    later: Later | None = None,
    near: NearSize | None = None,
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
    return wrapper(data_type, primary, Caching(cache, budget, largest, later, near))


if TYPE_CHECKING:
    _networks: type[Networks] = CachedNetworks
    _wallets: type[Wallets] = CachedWallets
    _transactions: type[Transactions] = CachedTransactions
    _contracts: type[Contracts] = CachedContracts
    _documents: type[Documents] = CachedDocuments
