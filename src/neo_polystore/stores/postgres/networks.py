"""Networks in `blockchain.networks`."""

from __future__ import annotations

from typing import Any

from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.networks import Networks
from neo_polystore.records.networks import Network
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.merge import Merge, Refusal

TAKEN = Refusal("name", "another network has this name")

FIELDS = {
    "name": "text",
    "network_type": "text",
    "rpc_endpoint": "text",
    "ws_endpoint": "text",
    "explorer_url": "text",
    "is_testnet": "boolean",
    "is_active": "boolean",
}

_NAMES = ", ".join(FIELDS)
_NEW = ", ".join(f"j.{name}" for name in FIELDS)
_OLD = ", ".join(f"n.{name}" for name in FIELDS)

SQL = f"""
WITH incoming AS MATERIALIZED (SELECT * FROM {{incoming}}),
judged AS MATERIALIZED (
    SELECT i.*, n.id AS present,
        row_number() OVER (PARTITION BY i.name ORDER BY i.index) > 1 OR EXISTS (
            SELECT FROM blockchain.networks o WHERE o.name = i.name AND o.chain_id <> i.chain_id
        ) AS taken
    FROM incoming i LEFT JOIN blockchain.networks n USING (chain_id)
),
inserted AS (
    INSERT INTO blockchain.networks (chain_id, {_NAMES})
    SELECT j.chain_id, {_NEW} FROM judged j WHERE j.present IS NULL AND NOT j.taken
    ORDER BY j.chain_id ON CONFLICT DO NOTHING RETURNING chain_id
),
updated AS (
    UPDATE blockchain.networks n SET ({_NAMES}) = ROW ({_NEW}) FROM judged j
    WHERE n.id = j.present AND NOT j.taken AND ({_OLD}) IS DISTINCT FROM ({_NEW})
    RETURNING n.chain_id
)
SELECT j.index, CASE
    WHEN j.taken THEN 'taken'
    WHEN a.chain_id IS NOT NULL THEN 'new'
    WHEN b.chain_id IS NOT NULL THEN 'replaced'
    WHEN j.present IS NOT NULL THEN 'existing'
    ELSE 'unseen' END AS outcome
FROM judged j LEFT JOIN inserted a USING (chain_id) LEFT JOIN updated b USING (chain_id)
"""


def _row(network: Network) -> tuple[Any, ...]:
    return (network.chain_id, *(getattr(network, name) for name in FIELDS))


class PgNetworks(PgRecords[Network]):
    """Networks by chain id."""

    selection = Selection(
        record=Network,
        source="blockchain.networks n",
        columns={
            "chain_id": Column("n.chain_id", "bigint"),
            **{name: Column(f"n.{name}", kind) for name, kind in FIELDS.items()},
        },
        key=(Column("n.chain_id", "bigint"),),
    )
    lookup = "FROM blockchain.networks n WHERE n.chain_id = $1"
    removal = "DELETE FROM blockchain.networks WHERE chain_id = $1"
    merge = Merge(
        name="networks",
        columns={"chain_id": "bigint", **FIELDS},
        sql=SQL,
        row=_row,
        refusals={"taken": TAKEN},
        constraints={"networks_name_key": TAKEN},
    )

    def identify(self, key: str) -> tuple[Any, ...]:
        """The chain id."""
        if not (key.isascii() and key.isdigit() and len(key) < 20 and int(key) < 2**63):
            raise self.missing(key)
        return (int(key),)


_: type[Networks] = PgNetworks
