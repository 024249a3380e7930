"""Which class serves a data type, and which a record model."""

from __future__ import annotations

from typing import Any

from neo_polystore.records.base import Record
from neo_polystore.stores.postgres.accounts import PgAccounts
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.contracts import PgContracts
from neo_polystore.stores.postgres.networks import PgNetworks
from neo_polystore.stores.postgres.sealed import PgSealed
from neo_polystore.stores.postgres.tenants import PgTenants
from neo_polystore.stores.postgres.transactions import PgTransactions
from neo_polystore.stores.postgres.wallets import PgWallets

_SERVED: tuple[type[PgRecords[Any]], ...] = (
    PgAccounts,
    PgContracts,
    PgNetworks,
    PgSealed,
    PgTransactions,
    PgWallets,
)

PORTS: dict[str, type[PgRecords[Any]]] = {port.selection.record.data_type: port for port in _SERVED}
"""By data type; tenants are served through accounts."""

_HELD: tuple[type[PgRecords[Any]], ...] = (*_SERVED, PgTenants)

MODELS: dict[type[Record], type[PgRecords[Any]]] = {port.selection.record: port for port in _HELD}
"""By record model."""
