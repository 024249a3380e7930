"""The cached form of every data type that has one; see `cached_records` for what it promises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from pydantic import SecretStr

from neo_polystore.errors import UnsupportedError
from neo_polystore.ports.accounts import Accounts, Roles, Sessions
from neo_polystore.ports.cache import Cache
from neo_polystore.ports.contracts import Contracts
from neo_polystore.ports.documents import Documents
from neo_polystore.ports.networks import Networks
from neo_polystore.ports.transactions import Transactions
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.accounts import Tenant, User
from neo_polystore.records.contracts import Contract
from neo_polystore.records.documents import Document
from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.records.wallets import Wallet
from neo_polystore.wrappers.cached_guard import BUDGET
from neo_polystore.wrappers.cached_records import CachedRecords

__all__ = ["CachedRecords", "cached"]

_CHAIN = r"(0|[1-9]\d{0,18})"
_ADDRESS = r"(0x[0-9a-f]{40}|[1-9A-Za-z][0-9A-Za-z]{24,254})"


class CachedAccounts(CachedRecords[User, Accounts]):
    """Users; tenants themselves and passwords always come from the primary."""

    canonical: ClassVar[re.Pattern[str] | None] = re.compile(
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
        """The primary's."""
        return self.primary.sessions

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

    async def native(self, key: str) -> dict[str, Any]:
        """From the primary."""
        return await self.primary.native(key)


_WRAPPERS: Mapping[str, type[CachedRecords[Any, Any]]] = {
    "accounts": CachedAccounts,
    "networks": CachedNetworks,
    "wallets": CachedWallets,
    "transactions": CachedTransactions,
    "contracts": CachedContracts,
    "contract_metadata": CachedDocuments,
}

_UNCACHED_YET = frozenset({"metrics"})
"""Routed to a cache, but what is worth caching of them are ranges, not points by key; those need
invalidation by series. Caching points would only make bulk writes pay for invalidations."""


def cached(data_type: str, primary: Any, cache: Cache, *, budget: float = BUDGET) -> Any:
    """The port of a data type behind a cache. UnsupportedError where it cannot be cached: sealed
    blobs never are, nor what has no key to be read by."""
    if data_type in _UNCACHED_YET:
        return primary
    wrapper = _WRAPPERS.get(data_type)
    if wrapper is None:
        able = ", ".join(sorted({*_WRAPPERS, *_UNCACHED_YET}))
        raise UnsupportedError(
            f"{data_type} cannot be cached (only {able}):"
            " leave its cache empty in the routing table"
        )
    return wrapper(data_type, primary, cache, budget=budget)


if TYPE_CHECKING:
    _accounts: type[Accounts] = CachedAccounts
    _networks: type[Networks] = CachedNetworks
    _wallets: type[Wallets] = CachedWallets
    _transactions: type[Transactions] = CachedTransactions
    _contracts: type[Contracts] = CachedContracts
    _documents: type[Documents] = CachedDocuments
