"""Evidence in `enclave.attestations`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from neo_polystore.errors import NotFoundError
from neo_polystore.pgkit.database import Database
from neo_polystore.ports.attestations import Attestation, Attestations

_COLUMNS = (
    "id, enclave_id, mr_enclave, mr_signer, isv_prod_id, isv_svn, quote, collateral, policy,"
    " verdict, judged_at, expires_at, status, root_ca"
)
_ADD = f"""
INSERT INTO enclave.attestations ({_COLUMNS}, report_data, attestation_type, verified_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::text, $14, $15, 'DCAP',
    CASE WHEN $13::text = 'verified' THEN now() END)
"""
_GET = f"SELECT {_COLUMNS} FROM enclave.attestations WHERE id = $1 AND verdict IS NOT NULL"
_LIST = f"""
SELECT {_COLUMNS} FROM enclave.attestations WHERE verdict IS NOT NULL
ORDER BY created_at DESC, id DESC LIMIT $1
"""


class PgAttestations:
    """See `ports.attestations`."""

    def __init__(self, database: Database):
        self._database = database

    async def add(self, attestation: Attestation) -> None:
        """One statement."""
        report = (attestation.verdict.get("quote") or {}).get("report", {})
        async with self._database.acquire("attestations.add") as connection:
            await connection.execute(
                _ADD,
                attestation.id,
                attestation.enclave,
                attestation.mr_enclave,
                attestation.mr_signer,
                attestation.product_id,
                attestation.svn,
                attestation.quote,
                attestation.collateral,
                attestation.policy,
                attestation.verdict,
                attestation.judged_at,
                attestation.expires_at,
                "verified" if attestation.accepted else "rejected",
                attestation.root,
                report.get("report_data"),
            )

    async def get(self, attestation: UUID) -> Attestation:
        """One statement."""
        async with self._database.acquire("attestations.get") as connection:
            row = await connection.fetchrow(_GET, attestation)
        if row is None:
            raise NotFoundError(f"no attestation {attestation}", store=self._database.store)
        return _attestation(row)

    async def list(self, *, limit: int = 100) -> Sequence[Attestation]:
        """One statement."""
        async with self._database.acquire("attestations.list") as connection:
            return [_attestation(row) for row in await connection.fetch(_LIST, limit)]


def _attestation(row: asyncpg.Record) -> Attestation:
    return Attestation(
        id=row["id"],
        enclave=row["enclave_id"],
        mr_enclave=row["mr_enclave"],
        mr_signer=row["mr_signer"],
        product_id=row["isv_prod_id"],
        svn=row["isv_svn"],
        quote=row["quote"],
        collateral=row["collateral"],
        policy=row["policy"],
        verdict=row["verdict"],
        judged_at=row["judged_at"],
        expires_at=row["expires_at"],
        accepted=row["status"] == "verified",
        root=row["root_ca"],
    )


_: type[Attestations] = PgAttestations
