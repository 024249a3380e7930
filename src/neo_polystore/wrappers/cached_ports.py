"""The cached form of the record ports that have few verbs of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

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
from neo_polystore.wrappers.cached_records import CachedRecords

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


if TYPE_CHECKING:
    _networks: type[Networks] = CachedNetworks
    _wallets: type[Wallets] = CachedWallets
    _transactions: type[Transactions] = CachedTransactions
    _contracts: type[Contracts] = CachedContracts
    _documents: type[Documents] = CachedDocuments
