"""Attestation as the facade offers it: whoever asks is in the audit trail."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from neo_polystore.attestation.fetching import Fetcher
from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.verdict import Verdict
from neo_polystore.audit.trail import Action, AuditTrail
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.ports.attestations import Attestation
from neo_polystore.sealing.evidence import Evidence, Recheck


class Attesting:
    """On behalf of one caller. `fetcher` asks for collateral that was not given; None: nobody."""

    def __init__(self, evidence: Evidence, trail: AuditTrail, *, fetcher: Fetcher | None = None):
        self._evidence = evidence
        self._trail = trail
        self._fetcher = fetcher

    async def verify(
        self,
        quote: bytes,
        collateral: bytes | str | None,
        *,
        at: datetime | None = None,
        policy: Policy | None = None,
        enclave: str = "",
    ) -> tuple[UUID, Verdict]:
        """Judge a quote, now or as of a time, and keep everything; its id and the verdict.

        Without collateral it is fetched; UsageError where that is not configured.
        """
        if collateral is None:
            collateral = await self._fetched(quote)
        kept, verdict = await self._evidence.verify(
            quote, collateral, at=at, policy=policy, enclave=enclave
        )
        details = {"sha256": verdict.digest, "enclave": enclave, "status": verdict.status}
        error = None if verdict.accepted else "; ".join(verdict.reasons)[:1000]
        await self._record("CREATE", kept, details, error=error)
        return kept, verdict

    async def get(self, attestation: UUID) -> Attestation:
        """What was kept; NotFoundError."""
        found = await self._evidence.store.get(attestation)
        await self._record("READ", attestation, {})
        return found

    async def list(self, *, limit: int = 100) -> Sequence[Attestation]:
        """The newest first."""
        found = await self._evidence.store.list(limit=limit)
        await self._record("READ", None, {"count": len(found)})
        return found

    async def recheck(self, attestation: UUID) -> Recheck:
        """Judge kept evidence again, as of then and as of now; NotFoundError."""
        found = await self._evidence.recheck(attestation)
        error = None if found.holds else "the kept verdict does not hold"
        await self._record("EXECUTE", attestation, {"accepted_now": found.now.accepted}, error)
        return found

    async def _fetched(self, quote: bytes) -> bytes:
        if self._fetcher is None:
            raise UsageError(
                "no collateral was given, and NEO_PCCS_URL names no service to fetch it from",
                operation="attestation",
            )
        try:
            return await self._fetcher.collateral(quote)
        except PolystoreError as error:
            await self._record("CREATE", None, {}, error.message)
            raise

    async def _record(
        self, action: Action, about: UUID | None, details: dict[str, Any], error: str | None = None
    ) -> None:
        about_text = None if about is None else str(about)
        await self._trail.record(action, "attestation", about_text, error=error, details=details)


def summary(kept: Attestation) -> dict[str, Any]:
    """What a list shows of it, in JSON's types."""
    return {
        "id": kept.id,
        "enclave": kept.enclave or None,
        "mr_enclave": kept.mr_enclave or None,
        "mr_signer": kept.mr_signer or None,
        "svn": kept.svn,
        "accepted": kept.accepted,
        "status": kept.verdict["status"],
        "judged_at": kept.judged_at,
        "kept_until": kept.expires_at,
    }
