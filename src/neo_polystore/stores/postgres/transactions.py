"""Transactions in `blockchain.transactions`, and the key table that finds them by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from neo_polystore.ids import uuid7
from neo_polystore.pgkit.select import Column
from neo_polystore.ports.transactions import Transactions
from neo_polystore.records.query import Query
from neo_polystore.records.results import Written
from neo_polystore.records.transactions import Receipt, Transaction
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.chains import NO_NETWORK, ChainSelection, split_key
from neo_polystore.stores.postgres.merge import Merge, Refusal, merge

# The key row decides whether a transaction is new; only then is the transaction itself written.
# Both are one statement, so there is never one without the other. Keys go in sorted order, so
# that two loads of the same file wait for each other instead of deadlocking.
SQL = """
WITH judged AS MATERIALIZED (
    SELECT i.*, n.id AS network_id
    FROM {incoming} LEFT JOIN blockchain.networks n USING (chain_id)
),
keys AS (
    INSERT INTO blockchain.transaction_keys
        (network_id, transaction_hash, transaction_id, created_at)
    SELECT j.network_id, j.hash, j.id, now() FROM judged j WHERE j.network_id IS NOT NULL
    ORDER BY j.network_id, j.hash ON CONFLICT DO NOTHING RETURNING transaction_id, created_at
),
stored AS (
    INSERT INTO blockchain.transactions (id, network_id, transaction_hash, from_address,
        to_address, value, gas_price, gas_limit, gas_used, nonce, input_data, status,
        block_number, block_timestamp, confirmation_count, created_at)
    SELECT j.id, j.network_id, j.hash, j.from_address, j.to_address, j.value::numeric,
        j.gas_price::numeric, j.gas_limit, j.gas_used, j.nonce, j.input_data, j.status,
        j.block_number, j.block_timestamp, j.confirmation_count, k.created_at
    FROM keys k JOIN judged j ON j.id = k.transaction_id
)
SELECT j.index, CASE
    WHEN j.network_id IS NULL THEN 'no network'
    WHEN k.transaction_id IS NOT NULL THEN 'new'
    ELSE 'existing' END AS outcome
FROM judged j LEFT JOIN keys k ON k.transaction_id = j.id
"""

RECEIPTS_SQL = """
WITH judged AS MATERIALIZED (
    SELECT i.*, k.transaction_id, k.created_at
    FROM {incoming}
    LEFT JOIN blockchain.networks n USING (chain_id)
    LEFT JOIN blockchain.transaction_keys k
        ON k.network_id = n.id AND k.transaction_hash = i.hash
),
updated AS (
    UPDATE blockchain.transactions t
    SET gas_used = j.gas_used, status = COALESCE(j.status, t.status)
    FROM judged j
    WHERE t.id = j.transaction_id AND t.created_at = j.created_at
      AND (t.gas_used, t.status) IS DISTINCT FROM (j.gas_used, COALESCE(j.status, t.status))
    RETURNING t.id
)
SELECT j.index, CASE
    WHEN j.transaction_id IS NULL THEN 'no transaction'
    WHEN u.id IS NOT NULL THEN 'replaced'
    ELSE 'existing' END AS outcome
FROM judged j LEFT JOIN updated u ON u.id = j.transaction_id
"""

COLUMNS = {
    "chain_id": "bigint",
    "hash": "text",
    "from_address": "text",
    "to_address": "text",
    "value": "text",
    "gas_price": "text",
    "gas_limit": "bigint",
    "gas_used": "bigint",
    "nonce": "bigint",
    "input_data": "text",
    "status": "text",
    "block_number": "bigint",
    "block_timestamp": "timestamptz",
    "confirmation_count": "int",
}


def _row(transaction: Transaction) -> tuple[Any, ...]:
    price = transaction.gas_price
    return (
        uuid7(),
        transaction.chain_id,
        transaction.hash,
        transaction.from_address,
        transaction.to_address,
        str(transaction.value),
        None if price is None else str(price),
        transaction.gas_limit,
        transaction.gas_used,
        transaction.nonce,
        transaction.input_data,
        transaction.status,
        transaction.block_number,
        transaction.block_timestamp,
        transaction.confirmation_count,
    )


def _receipt_row(receipt: Receipt) -> tuple[Any, ...]:
    status = {0: "failed", 1: "confirmed", None: None}[receipt.status]
    return (receipt.chain_id, receipt.transaction_hash, receipt.gas_used, status)


_NETWORKS = "JOIN blockchain.networks n ON n.id = t.network_id"
_KEYED = (
    "blockchain.transaction_keys k JOIN blockchain.networks n ON n.id = k.network_id"
    " JOIN blockchain.transactions t ON t.id = k.transaction_id AND t.created_at = k.created_at"
)
_ALL = ChainSelection(
    record=Transaction,
    source=f"blockchain.transactions t {_NETWORKS}",
    columns={
        "chain_id": Column("n.chain_id", "bigint"),
        "hash": Column("t.transaction_hash", "text"),
        "from_address": Column("t.from_address", "text"),
        "to_address": Column("t.to_address", "text"),
        "value": Column("t.value", "numeric"),
        "gas_price": Column("t.gas_price", "numeric"),
        "gas_limit": Column("t.gas_limit", "bigint"),
        "gas_used": Column("t.gas_used", "bigint"),
        "nonce": Column("t.nonce", "bigint"),
        "input_data": Column("t.input_data", "text"),
        "status": Column("t.status", "text"),
        "block_number": Column("t.block_number", "bigint"),
        "block_timestamp": Column("t.block_timestamp", "timestamptz"),
        "confirmation_count": Column("COALESCE(t.confirmation_count, 0)", "int"),
    },
    key=(Column("t.network_id", "uuid"), Column("t.transaction_hash", "text")),
    network="t.network_id",
)
_BY_KEY = replace(
    _ALL,
    source=_KEYED,
    columns={**_ALL.columns, "hash": Column("k.transaction_hash", "text")},
    key=(Column("k.network_id", "uuid"), Column("k.transaction_hash", "text")),
    network="k.network_id",
)


class PgTransactions(PgRecords[Transaction]):
    """Transactions by chain and hash.

    The partitions are by the time of storing, which a hash does not tell; the key table does,
    and with it a lookup opens one partition only.
    """

    selection = _ALL
    lookup = f"FROM {_KEYED} WHERE n.chain_id = $1 AND k.transaction_hash = $2"
    gathers = ("bigint", "text")
    mutable = False
    merge = Merge(
        name="transactions",
        columns={"id": "uuid", **COLUMNS},
        sql=SQL,
        row=_row,
        audited=False,
        refusals={"no network": NO_NETWORK},
        constraints={"transactions_network_id_fkey": NO_NETWORK},
        weigh=lambda transaction: 1 + len(transaction.input_data or "") // 4096,
    )
    receipts = Merge(
        name="receipts",
        columns={"chain_id": "bigint", "hash": "text", "gas_used": "bigint", "status": "text"},
        sql=RECEIPTS_SQL,
        row=_receipt_row,
        refusals={
            "no transaction": Refusal("transaction_hash", "no such transaction is stored"),
        },
    )

    async def apply_receipts(self, receipts: Sequence[Receipt]) -> Written:
        """Complete stored transactions; see `ports.transactions`."""
        return await merge(self.database, self.scope, self.receipts, receipts)

    def selection_for(self, query: Query) -> ChainSelection:
        """The key table leads where the query is about keys: it alone is in their order."""
        fields = {condition.field for condition in query.filters}
        bounded = query.since is not None or query.until is not None
        in_key_order = query.order in (None, "hash") and fields <= {"chain_id"} and not bounded
        if "hash" in fields or in_key_order:
            return _BY_KEY
        return _ALL

    def identify(self, key: str) -> tuple[Any, ...]:
        """Chain id and hash."""
        parts = split_key(key)
        if parts is None:
            raise self.missing(key)
        return parts


_: type[Transactions] = PgTransactions
