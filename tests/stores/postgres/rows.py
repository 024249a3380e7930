"""One good row for every table of the wider model, and the rows that it refers to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from neo_polystore.ids import SYSTEM_TENANT, SYSTEM_USER
from neo_polystore.pgkit.database import Connection

SERVICE = "oracle-service"


@dataclass(frozen=True)
class Of:
    """The id of a new row of another table."""

    table: str


class New:
    """A text that no other row has."""


TENANT, USER = SYSTEM_TENANT, SYSTEM_USER
SHA = "ab" * 32
PAYLOAD: dict[str, Any] = {"tenant_id": TENANT, "name": New()}
COMPUTATION = {"tenant_id": TENANT, "computation_id": Of("compute.computations")}
LATER = datetime(2030, 1, 1, tzinfo=UTC)

ROWS: dict[str, dict[str, Any]] = {
    "blockchain.networks": {
        "name": New(),
        "chain_id": "random",
        "network_type": "evm",
        "rpc_endpoint": "r",
    },
    "enclave.attestations": {
        "enclave_id": "e",
        "mr_enclave": "m",
        "mr_signer": "s",
        "isv_prod_id": 1,
        "isv_svn": 1,
        "quote": b"q",
        "attestation_type": "DCAP",
        "status": "ok",
        "expires_at": LATER,
    },
    "core.configurations": {"service_name": New(), "key": "k", "value": {}},
    "sgx.sealing_policies": {"name": New(), "policy_type": "MRSIGNER"},
    "sgx.sealed_data_items": {
        "service_name": SERVICE,
        "item_key": New(),
        "sealed_data": b"\0sealed",
        "policy_id": Of("sgx.sealing_policies"),
    },
    "sgx.enclave_attestations": {
        "service_name": SERVICE,
        "sealed_item_id": Of("sgx.sealed_data_items"),
        "attestation_id": Of("enclave.attestations"),
    },
    "compute.computations": {
        "tenant_id": TENANT,
        "name": "c",
        "blockchain_type": "neo",
        "computation_type": "wasm",
        "created_by": USER,
    },
    "compute.computation_statuses": {**COMPUTATION, "started_at": LATER},
    "compute.computation_results": {**COMPUTATION, "result": {}},
    "compute.computation_permissions": {
        **COMPUTATION,
        "principal_type": "user",
        "principal_id": "u",
        "permission": "read",
        "granted_by": USER,
    },
    "oracle.data_feeds": {"name": New(), "feed_type": "price"},
    "oracle.requests": {"data_feed_id": Of("oracle.data_feeds"), "requester": "r"},
    "oracle.responses": {"request_id": Of("oracle.requests"), "value": 1},
    "voting.proposals": {
        "tenant_id": TENANT,
        "title": "t",
        "proposer_id": USER,
        "proposal_type": "p",
        "starts_at": LATER,
    },
    "voting.votes": {
        "tenant_id": TENANT,
        "proposal_id": Of("voting.proposals"),
        "voter_id": USER,
        "choice": "for",
    },
    "voting.voting_powers": {
        "tenant_id": TENANT,
        "voter_id": USER,
        "proposal_id": Of("voting.proposals"),
    },
    "crosschain.transactions": {
        "source_network_id": Of("blockchain.networks"),
        "target_network_id": Of("blockchain.networks"),
        "source_tx_hash": New(),
        "sender": "a",
        "recipient": "b",
        "asset": "GAS",
        "amount": 10**77,
    },
    "crosschain.bridge_operations": {
        "transaction_id": Of("crosschain.transactions"),
        "operation_type": "lock",
    },
    "keymanagement.keys": {
        "key_alias": New(),
        "key_type": "symmetric",
        "algorithm": "AES-256-GCM",
        "encrypted_key_material": b"wrapped",
    },
    "keymanagement.key_rotations": {
        "key_id": Of("keymanagement.keys"),
        "from_version": 1,
        "to_version": 2,
    },
    "monitoring.alerts": {"name": "a", "severity": "warning"},
    "storage.objects": {
        "tenant_id": TENANT,
        "bucket": "b",
        "object_key": New(),
        "size_bytes": 1,
        "sha256": SHA,
    },
    "security.secrets": PAYLOAD,
    "notification.notifications": PAYLOAD,
    "automation.jobs": PAYLOAD,
    "analytics.model_runs": PAYLOAD,
    "reporting.reports": PAYLOAD,
}

EARLIER = LATER - timedelta(days=1)
MODEL = [table for table in ROWS if table not in ("blockchain.networks", "enclave.attestations")]
"""The tables of the wider model; the other two are there to be referred to."""


async def insert(
    connection: Connection, table: str, values: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Insert a row with some values of one's own; the row as it is stored.

    The caller acts for the system's tenant and for SERVICE.
    """
    given = {**ROWS[table], **(values or {})}
    row = {name: await _value(connection, value) for name, value in given.items()}
    names = ", ".join(row)
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    stored = await connection.fetchrow(
        f"INSERT INTO {table} ({names}) VALUES ({places}) RETURNING *", *row.values()
    )
    assert stored is not None
    return dict(stored)


async def _value(connection: Connection, value: Any) -> Any:
    match value:
        case Of(table):
            identity: UUID = (await insert(connection, table))["id"]
            return identity
        case New():
            return uuid4().hex
        case "random":
            return uuid4().int >> 66
        case dict():
            return "{}"
    return value


async def act(
    connection: Connection, *, tenant: UUID | None = TENANT, service: str = SERVICE
) -> None:
    """Set who acts until the end of the transaction."""
    await connection.execute(
        "SELECT set_config('app.current_tenant', $1, true),"
        " set_config('app.current_service', $2, true)",
        str(tenant or ""),
        service,
    )
