"""Blobs in `enclave.sealed_data`, each seen by its own tenant only, bytes as they came."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.sealed import Sealed
from neo_polystore.records.sealed import SealedBlob
from neo_polystore.stores.postgres.base import TENANT
from neo_polystore.stores.postgres.blobs import COLUMNS, REFUSALS, PgBlobs, row_of, weigh
from neo_polystore.stores.postgres.merge import Merge, Refusal

OWNER = Refusal("owner", "the tenant has no such user")

_KEY = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}):([^\x00]{1,200})", re.DOTALL)

_OURS = """EXISTS (
    SELECT FROM enclave.sealed_heads h WHERE h.owner = 'user:' || substr($1::text, 1, 36)
        AND h.data_key = substr($1::text, 38) AND h.deleted_at IS NULL)"""

# Under row-level security an index answers no condition that concatenates columns, because `||`
# might tell of rows that are somebody else's: what a head is found by is made in a step of its own.
# `version` comes in as what the writer believes to be stored (NULL: whatever is). An update that
# finds another one changes nothing, also when the other one is committed while this one waits.
SQL = f"""
WITH incoming AS MATERIALIZED (
    SELECT i.*, 'user:' || i.owner AS head_owner, substr(i.data_key, 38) AS head_key
    FROM {{incoming}}
),
judged AS MATERIALIZED (
    SELECT i.*, u.id AS user_id, s.id AS present, s.version AS stored_version,
        (s.enclave_id, s.policy, s.mac, s.sealed_blob)
            IS NOT DISTINCT FROM (i.enclave_id, i.policy, i.mac, i.blob) AS same,
        EXISTS (SELECT FROM enclave.sealed_heads h WHERE h.owner = i.head_owner
            AND h.data_key = i.head_key AND h.deleted_at IS NULL) AS ours
    FROM incoming i
    LEFT JOIN auth.users u ON u.id = i.owner AND u.deleted_at IS NULL
    LEFT JOIN enclave.sealed_data s ON s.owner_id = i.owner AND s.data_key = i.data_key
),
inserted AS (
    INSERT INTO enclave.sealed_data
        (id, tenant_id, owner_id, enclave_id, data_key, sealed_blob, mac, policy)
    SELECT j.id, {TENANT}, j.user_id, j.enclave_id, j.data_key, j.blob, j.mac, j.policy
    FROM judged j WHERE j.user_id IS NOT NULL AND j.present IS NULL AND NOT j.ours
    ORDER BY j.data_key ON CONFLICT DO NOTHING RETURNING id
),
updated AS (
    UPDATE enclave.sealed_data s
    SET enclave_id = j.enclave_id, policy = j.policy, mac = j.mac, sealed_blob = j.blob,
        version = s.version + 1
    FROM judged j
    WHERE s.id = j.present AND NOT j.same AND j.user_id IS NOT NULL AND NOT j.ours
      AND s.version = COALESCE(j.version, s.version)
    RETURNING s.id
)
SELECT j.index, CASE
    WHEN j.user_id IS NULL THEN 'no owner'
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN b.id IS NOT NULL THEN 'replaced'
    WHEN j.same AND j.present IS NOT NULL THEN 'existing'
    WHEN j.ours THEN 'ours'
    WHEN j.present IS NULL OR j.version = j.stored_version THEN 'unseen'
    ELSE 'stale' END AS outcome
FROM judged j LEFT JOIN inserted a ON a.id = j.id LEFT JOIN updated b ON b.id = j.present
"""


def _row(blob: SealedBlob) -> tuple[Any, ...]:
    return (*row_of(blob, f"{blob.owner}/{blob.data_key}"), blob.owner)


class PgSealed(PgBlobs[SealedBlob]):
    """Blobs of the scope's tenant by owner and data key.

    The column `data_key` is unique among all owners, so it holds `{owner}/{data_key}` and nobody
    can take a name from anybody else. A record that carries the version it was read with
    replaces that version only.
    """

    selection = Selection(
        record=SealedBlob,
        source="enclave.sealed_data s",
        columns={
            "owner": Column("s.owner_id", "uuid"),
            "data_key": Column("substr(s.data_key, 38)", "text"),
            "enclave_id": Column("s.enclave_id", "text"),
            "policy": Column("s.policy", "text"),
            "mac": Column("s.mac", "text"),
            "blob": Column("s.sealed_blob", "bytea"),
            "version": Column("s.version", "int"),
        },
        key=(Column("s.data_key", "text"),),
    )
    lookup = "FROM enclave.sealed_data s WHERE s.data_key = $1"
    removal = f"DELETE FROM enclave.sealed_data s WHERE s.data_key = $1 AND NOT {_OURS}"
    sealed_here = f"SELECT FROM enclave.sealed_data s WHERE s.data_key = $1 AND {_OURS}"
    tenant_owned = True
    merge = Merge(
        name="sealed",
        columns={**COLUMNS, "owner": "uuid"},
        sql=SQL,
        row=_row,
        refusals={"no owner": OWNER, **REFUSALS},
        constraints={"sealed_data_owner_fkey": OWNER},
        weigh=weigh,
    )

    def identify(self, key: str) -> tuple[Any, ...]:
        """The stored key: owner and data key."""
        match = _KEY.fullmatch(key)
        if match is None:
            raise self.missing(key)
        return (f"{UUID(match[1])}/{match[2]}",)


_: type[Sealed] = PgSealed
