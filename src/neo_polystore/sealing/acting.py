"""Acting on the sealed items of one owner: what every operation checks, retries and records."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from neo_polystore.audit.trail import Action, AuditTrail
from neo_polystore.errors import ConflictError, FieldProblem, PolystoreError, ValidationError
from neo_polystore.ports.sealing import Found, SealedItems
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing import Binding, Head, Opener, Owner, ServiceOwner
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.drafts import Draft, Rules
from neo_polystore.sealing.evidence import Evidence
from neo_polystore.sealing.judging import admit, fitting
from neo_polystore.sealing.ring import KeyRing

T = TypeVar("T")

ATTEMPTS: Final = 5
NAMED: Final = 100
"""Items that one audit entry names; of more it tells how many."""


class RetiredError(Exception):
    """The key that was sealed under is not the active one any more."""


class Acting:
    """One owner and all that his items need. What fails is audited as well as what succeeds."""

    def __init__(
        self,
        owner: Owner,
        scope: Scope,
        *,
        items: SealedItems,
        ring: KeyRing,
        trail: AuditTrail,
        evidence: Evidence,
        rules: Rules,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.owner = owner
        self._scope = scope
        self._items = items
        self._ring = ring
        self._trail = trail
        self._evidence = evidence
        self._rules = rules
        self._clock = clock

    async def _admit(self, heads: Sequence[Head], opener: Opener) -> None:
        policies = await self._policies({head.binding.policy_name for head in heads})
        for head in heads:
            policy = policies.get(head.binding.policy_name)
            shown = opener
            enclaves = head.binding.identity.policy != "USER_DEFINED"
            if (policy and policy.attestation_max_age) or (self._rules.hardware and enclaves):
                shown = await self._evidence.proven(opener, policy)
            admit(head, shown, policy)

    async def _policies(self, names: set[str]) -> dict[str, SealingPolicy]:
        return {name: await self._items.policy(name) for name in names if name}

    async def _prepared(self, drafts: Sequence[Draft]) -> dict[str, SealingPolicy]:
        """The drafts' policies; an error for what cannot be sealed, whatever its content."""
        for draft in drafts:
            if not 0 < len(draft.data_key) <= 200 or "\0" in draft.data_key:
                raise bad("data_key", "expected 1 to 200 characters and no NUL")
            if len(draft.enclave) > 255 or "\0" in draft.enclave:
                raise bad("enclave", "expected at most 255 characters and no NUL")
            self._fits(len(draft.content))
        policies = await self._policies({draft.policy_name for draft in drafts})
        for draft in drafts:
            if (policy := policies.get(draft.policy_name)) is not None:
                fitting(policy, draft.identity)
        for attestation in {draft.attestation for draft in drafts}:
            if attestation is not None:
                await self._evidence.accepted(attestation)
        return policies

    def _fits(self, size: int) -> None:
        if size > self._rules.largest:
            reason = f"over {self._rules.largest:,} bytes, which is the most that is sealed"
            raise bad("content", f"{reason} (NEO_SEALED_MAX_BYTES)")

    def _binding(self, draft: Draft, version: int) -> Binding:
        return Binding(
            owner=self.owner,
            data_key=draft.data_key,
            enclave=draft.enclave,
            identity=draft.identity,
            version=version,
            policy_name=draft.policy_name,
        )

    def _head(
        self,
        draft: Draft,
        binding: Binding,
        before: Found | None,
        *,
        mac: bytes,
        key_id: str,
        size: int,
        policy: SealingPolicy | None,
    ) -> Head:
        """The head of what was sealed just now, in place of what was found."""
        now = self._clock()
        expires: datetime | None = None
        if isinstance(self.owner, ServiceOwner):
            days = timedelta(policy.retention_days) if policy else self._rules.retention
            expires = draft.expires_at or now + days
        head = before.head if before else None
        return Head(
            binding=binding,
            mac=mac,
            key_id=key_id,
            generation=head.generation + 1 if head else 1,
            size=size,
            sealed_at=now,
            written_at=now,
            expires_at=expires,
            attestation=draft.attestation,
        )

    async def _retried(self, work: Callable[[], Awaitable[T]], *, patient: bool) -> T:
        """Again under the new key where the key was retired; where `patient`, also where somebody
        else was faster."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                return await work()
            except RetiredError:
                self._ring.refresh()
            except ConflictError as error:
                if last or not patient or not (error.operation or "").startswith("sealing"):
                    raise
        raise ConflictError("the master key is being changed too often", operation="sealing")

    async def _audited(
        self, action: Action, keys: Sequence[str], work: Callable[[], Awaitable[T]]
    ) -> T:
        """An entry of its own for what failed: the transaction took its own with it."""
        try:
            return await work()
        except PolystoreError as error:
            await self._record(action, keys, (), error=f"{type(error).__name__}: {error.message}")
            raise

    async def _record(
        self,
        action: Action,
        keys: Sequence[str],
        heads: Sequence[Head],
        *,
        error: str | None = None,
    ) -> None:
        details: dict[str, Any] = {"owner": str(self.owner), "count": len(keys)}
        if len(keys) != 1:
            details["items"] = list(keys[:NAMED])
        if len(heads) == 1:
            [head] = heads
            details |= {
                "version": head.binding.version,
                "policy": head.binding.identity.policy,
                "key_id": head.key_id,
            }
        about = f"{self.owner}/{keys[0]}" if len(keys) == 1 else str(self.owner)
        await self._trail.record(
            action,
            "sealed_item",
            about[:1000].replace("\0", "�"),  # a bad key, which was refused
            error=error,
            details=details,
        )


def written(heads: Sequence[Head]) -> Action:
    """What happened to items that were sealed."""
    return "CREATE" if all(head.binding.version == 1 for head in heads) else "UPDATE"


def bad(field: str, reason: str) -> ValidationError:
    """The error for a field of what is to be sealed."""
    return ValidationError([FieldProblem(field, reason)], operation="sealing")
