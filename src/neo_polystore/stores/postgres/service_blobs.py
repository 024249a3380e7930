"""Services' blobs from elsewhere, in `sgx.sealed_data_items`, each seen by its own service only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.database import Database
from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.ports.sealed import ServiceBlobs
from neo_polystore.records.results import Written
from neo_polystore.records.sealed import BlobFacts, ServiceBlob
from neo_polystore.stores.postgres.blobs import COLUMNS, REFUSALS, PgBlobs, row_of, weigh
from neo_polystore.stores.postgres.merge import Merge, merge

SERVICE = "(SELECT NULLIF(current_setting('app.current_service', true), ''))"
ELSEWHERE = "s.metadata ? 'enclave_id'"
"""What was sealed here has its enclave in the head."""

_SAME = "(i.enclave_id, i.policy, i.mac, i.blob)"
_STORED = "(s.metadata->>'enclave_id', s.metadata->>'policy', s.mac, s.sealed_data)"

# `version` and the outcomes are as in `sealed`. A repetition that does not say how long it is to
# be kept leaves what is stored as it is.
SQL = f"""
WITH judged AS MATERIALIZED (
    SELECT i.*, s.id AS present, s.version AS stored_version, NOT {ELSEWHERE} AS ours,
        {_SAME} IS NOT DISTINCT FROM {_STORED}
            AND s.expires_at IS NOT DISTINCT FROM COALESCE(i.expires_at, s.expires_at) AS same
    FROM {{incoming}}
    LEFT JOIN sgx.sealed_data_items s ON s.service_name = {SERVICE} AND s.item_key = i.data_key
),
inserted AS (
    INSERT INTO sgx.sealed_data_items
        (id, service_name, item_key, sealed_data, mac, content_hash, metadata, expires_at)
    SELECT j.id, {SERVICE}, j.data_key, j.blob, j.mac, encode(sha256(j.blob), 'hex'),
        jsonb_build_object('enclave_id', j.enclave_id, 'policy', j.policy),
        COALESCE(j.expires_at, now() + j.retention)
    FROM judged j WHERE j.present IS NULL
    ORDER BY j.data_key ON CONFLICT DO NOTHING RETURNING id
),
updated AS (
    UPDATE sgx.sealed_data_items s
    SET sealed_data = j.blob, mac = j.mac, content_hash = encode(sha256(j.blob), 'hex'),
        metadata = s.metadata
            || jsonb_build_object('enclave_id', j.enclave_id, 'policy', j.policy),
        expires_at = COALESCE(j.expires_at, now() + j.retention), version = s.version + 1
    FROM judged j
    WHERE s.id = j.present AND NOT j.same AND NOT j.ours
      AND s.version = COALESCE(j.version, s.version)
    RETURNING s.id
)
SELECT j.index, CASE
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN b.id IS NOT NULL THEN 'replaced'
    WHEN j.ours THEN 'ours'
    WHEN j.same THEN 'existing'
    WHEN j.present IS NULL OR j.version = j.stored_version THEN 'unseen'
    ELSE 'stale' END AS outcome
FROM judged j LEFT JOIN inserted a ON a.id = j.id LEFT JOIN updated b ON b.id = j.present
"""


def _row(blob: ServiceBlob, retention: timedelta | None = None) -> tuple[Any, ...]:
    return (*row_of(blob, blob.data_key), blob.expires_at, retention)


FACTS = f"""
SELECT s.item_key AS data_key, s.version, s.metadata->>'enclave_id' AS enclave_id,
    s.metadata->>'policy' AS policy, s.mac, s.content_hash AS sha256, s.size_bytes AS size,
    s.updated_at AS written_at, s.expires_at
FROM sgx.sealed_data_items s
WHERE {ELSEWHERE} AND s.item_key > $1 AND starts_with(s.item_key, $2)
ORDER BY s.item_key LIMIT $3
"""


class PgServiceBlobs(PgBlobs[ServiceBlob]):
    """Blobs of the scope's service by data key; without a service nothing is written or seen.

    They share their table with the service's sealed items, and neither touches the other.
    """

    selection = Selection(
        record=ServiceBlob,
        source="sgx.sealed_data_items s",
        columns={
            "data_key": Column("s.item_key", "text"),
            "enclave_id": Column("s.metadata->>'enclave_id'", "text"),
            "policy": Column("s.metadata->>'policy'", "text"),
            "mac": Column("s.mac", "text"),
            "blob": Column("s.sealed_data", "bytea"),
            "version": Column("s.version", "int"),
            "expires_at": Column("s.expires_at", "timestamptz"),
        },
        key=(Column("s.item_key", "text"),),
        fixed=ELSEWHERE,
    )
    lookup = f"FROM sgx.sealed_data_items s WHERE s.item_key = $1 AND {ELSEWHERE}"
    removal = f"DELETE FROM sgx.sealed_data_items s WHERE s.item_key = $1 AND {ELSEWHERE}"
    sealed_here = "SELECT FROM sgx.sealed_data_items s WHERE s.item_key = $1"
    merge = Merge(
        name="service_blobs",
        columns={**COLUMNS, "expires_at": "timestamptz", "retention": "interval"},
        sql=SQL,
        row=_row,
        refusals=REFUSALS,
        weigh=weigh,
    )

    def __init__(self, database: Database, retention: timedelta):
        super().__init__(database)
        self._retention = retention

    def identify(self, key: str) -> tuple[Any, ...]:
        """The data key, where it can be one."""
        if "\0" in key:
            raise self.missing(key)
        return (key,)

    async def write(self, records: Sequence[ServiceBlob]) -> Written:
        """Store blobs, each for as long as it says, or for as long as services' blobs are kept."""
        if self.scope.service is None:
            raise UsageError("these blobs belong to a service and this call has none")
        spec = replace(self.merge, row=partial(_row, retention=self._retention))
        return await merge(self.database, self.scope, spec, records)

    async def facts(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[BlobFacts]:
        """What blobs there are; see the port."""
        rows = await self.fetch("facts", FACTS, [after, prefix, limit])
        return [BlobFacts(**row) for row in rows]


_: type[ServiceBlobs] = PgServiceBlobs
