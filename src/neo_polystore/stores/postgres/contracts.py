"""Contracts in `blockchain.smart_contracts`."""

from __future__ import annotations

from typing import Any

from neo_polystore.ids import uuid7
from neo_polystore.pgkit import exact_json
from neo_polystore.pgkit.select import Column
from neo_polystore.ports.contracts import Contracts
from neo_polystore.records.contracts import Contract
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.chains import NO_NETWORK, ChainSelection, split_key
from neo_polystore.stores.postgres.merge import Merge, Refusal, RefusedError

FIELDS = {
    "name": "text",
    "symbol": "text",
    "contract_type": "text",
    "abi": "jsonb",
    "bytecode": "text",
    "source_code": "text",
    "compiler_version": "text",
    "optimization_enabled": "boolean",
    "verified": "boolean",
    "deployed_by": "text",
    "deployed_at": "timestamptz",
}

_NAMES = ", ".join(FIELDS)
_NEW = ", ".join("j.abi::jsonb" if name == "abi" else f"j.{name}" for name in FIELDS)
_OLD = ", ".join(f"c.{name}" for name in FIELDS)

SQL = f"""
WITH incoming AS MATERIALIZED (SELECT * FROM {{incoming}}),
judged AS MATERIALIZED (
    SELECT i.*, n.id AS network_id, c.id AS present
    FROM incoming i
    LEFT JOIN blockchain.networks n USING (chain_id)
    LEFT JOIN blockchain.smart_contracts c ON c.network_id = n.id AND c.address = i.address
),
inserted AS (
    INSERT INTO blockchain.smart_contracts (id, network_id, address, {_NAMES})
    SELECT j.id, j.network_id, j.address, {_NEW} FROM judged j
    WHERE j.network_id IS NOT NULL AND j.present IS NULL
    ORDER BY j.network_id, j.address ON CONFLICT DO NOTHING RETURNING id
),
updated AS (
    UPDATE blockchain.smart_contracts c SET ({_NAMES}) = ROW ({_NEW}) FROM judged j
    WHERE c.id = j.present AND ({_OLD}) IS DISTINCT FROM ({_NEW})
    RETURNING c.id
)
SELECT j.index, CASE
    WHEN j.network_id IS NULL THEN 'no network'
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN b.id IS NOT NULL THEN 'replaced'
    WHEN j.present IS NOT NULL THEN 'existing'
    ELSE 'unseen' END AS outcome
FROM judged j LEFT JOIN inserted a ON a.id = j.id LEFT JOIN updated b ON b.id = j.present
"""


def _row(contract: Contract) -> tuple[Any, ...]:
    values = {name: getattr(contract, name) for name in FIELDS}
    try:
        values["abi"] = exact_json.dumps(contract.abi)
    except ValueError as error:
        raise RefusedError(Refusal("abi", str(error))) from None
    return (uuid7(), contract.chain_id, contract.address, *values.values())


class PgContracts(PgRecords[Contract]):
    """Contracts by chain and address."""

    selection = ChainSelection(
        record=Contract,
        source="blockchain.smart_contracts c JOIN blockchain.networks n ON n.id = c.network_id",
        columns={
            "chain_id": Column("n.chain_id", "bigint"),
            "address": Column("c.address", "text"),
            **{name: Column(f"c.{name}", kind) for name, kind in FIELDS.items()},
        },
        key=(Column("c.network_id", "uuid"), Column("c.address", "text")),
        network="c.network_id",
    )
    lookup = f"FROM {selection.source} WHERE n.chain_id = $1 AND c.address = $2"
    removal = (
        "DELETE FROM blockchain.smart_contracts c USING blockchain.networks n"
        " WHERE n.id = c.network_id AND n.chain_id = $1 AND c.address = $2"
    )
    merge = Merge(
        name="contracts",
        columns={
            "id": "uuid",
            "chain_id": "bigint",
            "address": "text",
            **{name: "text" if kind == "jsonb" else kind for name, kind in FIELDS.items()},
        },
        sql=SQL,
        row=_row,
        refusals={"no network": NO_NETWORK},
        constraints={"smart_contracts_network_id_fkey": NO_NETWORK},
        weigh=lambda contract: 1 + len(contract.source_code or "") // 4096,
    )

    def identify(self, key: str) -> tuple[Any, ...]:
        """Chain id and address."""
        parts = split_key(key)
        if parts is None:
            raise self.missing(key)
        return parts


_: type[Contracts] = PgContracts
