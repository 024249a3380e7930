"""Wallets in `blockchain.wallets`, each seen by its own tenant only."""

from __future__ import annotations

from typing import Any

from neo_polystore.ids import uuid7
from neo_polystore.pgkit.select import Column
from neo_polystore.ports.wallets import Wallets
from neo_polystore.records.wallets import Wallet
from neo_polystore.stores.postgres.base import TENANT, PgRecords
from neo_polystore.stores.postgres.chains import NO_NETWORK, ChainSelection, split_key
from neo_polystore.stores.postgres.merge import Merge, Refusal

OWNER = Refusal("owner", "the tenant has no such user")

# Rows of other tenants are out of sight here; an address that is taken all the same stays
# `unseen` when looked at again, and its holder is not named.
SQL = f"""
WITH judged AS MATERIALIZED (
    SELECT i.*, n.id AS network_id, u.id AS user_id, w.id AS present
    FROM {{incoming}}
    LEFT JOIN blockchain.networks n USING (chain_id)
    LEFT JOIN auth.users u ON u.id = i.owner AND u.deleted_at IS NULL
    LEFT JOIN blockchain.wallets w ON w.network_id = n.id AND w.address = i.address
),
inserted AS (
    INSERT INTO blockchain.wallets (id, tenant_id, user_id, network_id, address, public_key,
        encrypted_private_key, wallet_type, is_hardware, initial_balance)
    SELECT j.id, {TENANT}, j.user_id, j.network_id, j.address, j.public_key,
        j.encrypted_private_key, j.wallet_type, j.is_hardware, j.initial_balance::numeric
    FROM judged j
    WHERE j.network_id IS NOT NULL AND j.user_id IS NOT NULL AND j.present IS NULL
    ORDER BY j.network_id, j.address ON CONFLICT DO NOTHING RETURNING id
)
SELECT j.index, CASE
    WHEN j.network_id IS NULL THEN 'no network'
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN j.present IS NOT NULL THEN 'existing'
    WHEN j.user_id IS NULL THEN 'no owner'
    ELSE 'unseen' END AS outcome
FROM judged j LEFT JOIN inserted a ON a.id = j.id
"""


def _row(wallet: Wallet) -> tuple[Any, ...]:
    balance = wallet.initial_balance
    return (
        uuid7(),
        wallet.chain_id,
        wallet.address,
        wallet.owner,
        wallet.wallet_type,
        wallet.public_key,
        wallet.encrypted_private_key,
        wallet.is_hardware,
        None if balance is None else str(balance),
    )


class PgWallets(PgRecords[Wallet]):
    """Wallets of the scope's tenant by chain and address.

    An encrypted private key is kept but never read back: no column of the selection names it.
    """

    selection = ChainSelection(
        record=Wallet,
        source="blockchain.wallets w JOIN blockchain.networks n ON n.id = w.network_id",
        columns={
            "chain_id": Column("n.chain_id", "bigint"),
            "address": Column("w.address", "text"),
            "owner": Column("w.user_id", "uuid"),
            "wallet_type": Column("w.wallet_type", "text"),
            "public_key": Column("w.public_key", "text"),
            "is_hardware": Column("w.is_hardware", "boolean"),
            "initial_balance": Column("w.initial_balance", "numeric"),
        },
        key=(Column("w.network_id", "uuid"), Column("w.address", "text")),
        network="w.network_id",
    )
    lookup = f"FROM {selection.source} WHERE n.chain_id = $1 AND w.address = $2"
    removal = (
        "DELETE FROM blockchain.wallets w USING blockchain.networks n"
        " WHERE n.id = w.network_id AND n.chain_id = $1 AND w.address = $2"
    )
    gathers = ("bigint", "text")
    tenant_owned = True
    mutable = False
    merge = Merge(
        name="wallets",
        columns={
            "id": "uuid",
            "chain_id": "bigint",
            "address": "text",
            "owner": "uuid",
            "wallet_type": "text",
            "public_key": "text",
            "encrypted_private_key": "text",
            "is_hardware": "boolean",
            "initial_balance": "text",
        },
        sql=SQL,
        row=_row,
        refusals={
            "no network": NO_NETWORK,
            "no owner": OWNER,
            "unseen": Refusal("address", "the address is already held on this network"),
        },
        constraints={"wallets_user_fkey": OWNER, "wallets_network_id_fkey": NO_NETWORK},
    )

    def identify(self, key: str) -> tuple[Any, ...]:
        """Chain id and address."""
        parts = split_key(key)
        if parts is None:
            raise self.missing(key)
        return parts


_: type[Wallets] = PgWallets
