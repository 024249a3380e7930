"""Evidence: quotes with the collateral and policy that they were judged by, and the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Attestation:
    """All that a verdict was made of, so that it can be made again; times are aware.

    `root` is the certificate (DER) that was trusted in place of Intel's, if another was.
    """

    id: UUID
    enclave: str
    mr_enclave: str
    mr_signer: str
    product_id: int
    svn: int
    quote: bytes = field(repr=False)
    collateral: str = field(repr=False)
    policy: dict[str, Any]
    verdict: dict[str, Any]
    judged_at: datetime
    expires_at: datetime
    accepted: bool
    root: bytes | None = field(default=None, repr=False)


class Attestations(Protocol):
    """Stored evidence. It is the platform's, not a tenant's: quotes are no secrets."""

    async def add(self, attestation: Attestation) -> None:
        """Keep it."""

    async def get(self, attestation: UUID) -> Attestation:
        """One; NotFoundError, also for one that was stored without its collateral."""

    async def list(self, *, limit: int = 100) -> Sequence[Attestation]:
        """The newest first."""
