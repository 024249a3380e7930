"""Judges quotes, keeps what each verdict was made of, and proves what an opener says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from neo_polystore.attestation.policy import Policy
from neo_polystore.attestation.verdict import Verdict, judge
from neo_polystore.errors import ForbiddenError
from neo_polystore.ids import uuid7
from neo_polystore.ports.attestations import Attestation, Attestations
from neo_polystore.records.sealing import Opener
from neo_polystore.records.sealing_policies import SealingPolicy

KEPT: Final = timedelta(days=365)
"""How long the evidence of an acceptance is kept, and longer where an item was written under it."""

REJECTED_KEPT: Final = timedelta(days=90)
"""How long the evidence of a verdict is kept that was no acceptance."""

MAX_AGE: Final = timedelta(days=1)
"""The oldest attestation that opens in hardware mode where the policy names no age."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """The stored verdict, the same evidence judged again as of then, and as of now."""

    stored: dict[str, Any]
    then: Verdict
    now: Verdict

    @property
    def holds(self) -> bool:
        """Whether judging again gives the stored verdict."""
        return self.then.as_dict() == self.stored

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "holds": self.holds,
            "stored": self.stored,
            "then": self.then.as_dict(),
            "now": self.now.as_dict(),
        }


class Evidence:
    """`root` is trusted in place of Intel's certificate (tests, private provisioning)."""

    def __init__(
        self,
        store: Attestations,
        *,
        root: bytes | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.store = store
        self._root = root
        self._clock = clock

    async def verify(
        self,
        quote: bytes,
        collateral: bytes | str,
        *,
        at: datetime | None = None,
        policy: Policy | None = None,
        enclave: str = "",
    ) -> tuple[UUID, Verdict]:
        """Judge a quote, now or as of a time, and keep everything; its id and the verdict."""
        at, policy = at or self._clock(), policy or Policy()
        verdict = judge(quote, collateral, at=at, policy=policy, root=self._root)
        read = verdict.quote
        text = collateral if isinstance(collateral, str) else collateral.decode(errors="replace")
        attestation = Attestation(
            id=uuid7(),
            enclave=enclave,
            mr_enclave=read.mr_enclave if read else "",
            mr_signer=read.mr_signer if read else "",
            product_id=read.isv_prod_id if read else 0,
            svn=read.isv_svn if read else 0,
            quote=quote,
            collateral=text.replace("\0", "�"),
            policy=policy.model_dump(mode="json"),
            verdict=verdict.as_dict(),
            judged_at=verdict.at,
            expires_at=self._clock() + (KEPT if verdict.accepted else REJECTED_KEPT),
            accepted=verdict.accepted,
            root=self._root,
        )
        await self.store.add(attestation)
        return attestation.id, verdict

    async def accepted(self, attestation: UUID) -> None:
        """NotFoundError where there is no such attestation, ForbiddenError for a rejected one."""
        if not (await self.store.get(attestation)).accepted:
            raise ForbiddenError(f"the attestation {attestation} was rejected")

    async def recheck(self, attestation: UUID) -> Recheck:
        """Judge stored evidence again; NotFoundError."""
        kept = await self.store.get(attestation)
        policy = Policy.model_validate(kept.policy)

        def again(at: datetime) -> Verdict:
            return judge(kept.quote, kept.collateral, at=at, policy=policy, root=kept.root)

        return Recheck(kept.verdict, again(kept.judged_at), again(self._clock()))

    async def proven(self, opener: Opener, policy: SealingPolicy | None) -> Opener:
        """The opener as its attestation shows it; ForbiddenError where it shows nothing fresh.

        The evidence is judged again as of now by the sealing policy's own attestation policy: a
        verdict that was made by a milder one counts for nothing.
        """
        if opener.attestation is None:
            raise ForbiddenError("it opens only for an attestation: name one")
        kept = await self.store.get(opener.attestation)
        longest = (policy and policy.attestation_max_age) or MAX_AGE
        now = self._clock()
        if not timedelta(0) <= now - kept.judged_at <= longest:
            raise ForbiddenError(f"the attestation must not be older than {longest}")
        rules = Policy.model_validate((policy and policy.attestation_policy) or {})
        verdict = judge(kept.quote, kept.collateral, at=now, policy=rules, root=self._root)
        if not (verdict.accepted and verdict.quote):
            raise ForbiddenError(f"the attestation is not accepted: {'; '.join(verdict.reasons)}")
        return Opener(
            mr_enclave=verdict.quote.mr_enclave,
            mr_signer=verdict.quote.mr_signer,
            product_id=verdict.quote.isv_prod_id,
            svn=verdict.quote.isv_svn,
            label=opener.label,
            attestation=opener.attestation,
        )
