"""Sealing as the facade offers it: items by owner, policies, keys, evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from pydantic import ValidationError as PydanticError

from neo_polystore.attestation.fetching import Fetcher
from neo_polystore.attestation.policy import Policy as AttestationPolicy
from neo_polystore.audit.trail import AuditTrail
from neo_polystore.errors import ValidationError
from neo_polystore.ids import SYSTEM_TENANT
from neo_polystore.ports.sealed import ServiceBlobs
from neo_polystore.ports.sealing import SealingStore, Survey
from neo_polystore.records.base import problems_of
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing import Owner, ServiceOwner, UserOwner
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.attesting import Attesting
from neo_polystore.sealing.audited import AuditedServiceBlobs
from neo_polystore.sealing.drafts import Rules
from neo_polystore.sealing.evidence import Evidence
from neo_polystore.sealing.items import OwnItems
from neo_polystore.sealing.ring import KeyRing


class Sealing:
    """`of_user` and `of_service` answer the items of one owner; see `sealing.items`."""

    def __init__(
        self,
        store: SealingStore,
        ring: KeyRing,
        *,
        trail: AuditTrail,
        rules: Rules | None = None,
        fetcher: Fetcher | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ):
        self.ring = ring
        self.rules = rules or Rules()
        self.evidence = Evidence(store.attestations)
        self._items = store.sealed_items
        self._blobs = AuditedServiceBlobs(store.service_blobs(self.rules.retention), trail)
        self._trail = trail
        self._fetcher = fetcher
        self._clock = clock

    def of_user(self, tenant: UUID, user: UUID, *, actor: str | None = None) -> OwnItems:
        """A user's items, which nobody but that tenant sees."""
        return self.of(UserOwner(tenant, user), actor=actor)

    def of_service(self, service: str, *, actor: str | None = None) -> OwnItems:
        """A service's items, which no other service sees; its audit trail is the system's."""
        return self.of(ServiceOwner(service), actor=actor)

    def blobs_of_service(self, service: str, *, actor: str | None = None) -> ServiceBlobs:
        """What enclaves of a service sealed themselves: kept byte for byte, never opened here."""
        return self._blobs.within(Scope(tenant=SYSTEM_TENANT, service=service, user=actor))

    def of(self, owner: Owner, *, actor: str | None = None) -> OwnItems:
        """An owner's items; `actor` is who acts, where that is not the owner."""
        if isinstance(owner, UserOwner):
            scope = Scope(tenant=owner.tenant, user=actor or str(owner.user))
        else:
            scope = Scope(tenant=SYSTEM_TENANT, service=owner.service, user=actor)
        return OwnItems(
            owner,
            scope,
            items=self._items,
            ring=self.ring,
            trail=self._trail.within(scope),
            evidence=self.evidence,
            rules=self.rules,
            clock=self._clock,
        )

    def attesting(self, *, actor: str | None = None) -> Attesting:
        """Verifying quotes and looking at what was kept, on behalf of who asks for it."""
        scope = Scope(tenant=SYSTEM_TENANT, user=actor)
        return Attesting(self.evidence, self._trail.within(scope), fetcher=self._fetcher)

    async def policies(self) -> Sequence[SealingPolicy]:
        """The named policies."""
        return await self._items.policies()

    async def policy(self, name: str) -> SealingPolicy:
        """One of them; NotFoundError."""
        return await self._items.policy(name)

    async def put_policy(self, policy: SealingPolicy, *, actor: str | None = None) -> None:
        """Store a policy under its name; ValidationError for rules that nobody can judge by."""
        try:
            AttestationPolicy.model_validate(policy.attestation_policy or {})
        except PydanticError as error:
            raise ValidationError(problems_of(error), operation="sealing") from None
        scope = Scope(tenant=SYSTEM_TENANT, user=actor)
        await self._items.put_policy(policy, scope)
        await self._trail.within(scope).record(
            "UPDATE", "sealing_policy", policy.name, after=policy.model_dump(mode="json")
        )

    async def survey(self) -> Sequence[Survey]:
        """All items by key, policy and SVN, with how many and since when."""
        return await self._items.survey()

    async def owners(self, key_id: str) -> dict[Owner, int]:
        """Who has items under a master key."""
        return dict(await self._items.owners(key_id))

    def trail(self) -> AuditTrail:
        """The system's audit trail, for what is no owner's."""
        return self._trail.within(Scope(tenant=SYSTEM_TENANT))

    def close(self) -> None:
        """Wipe the master keys from this process."""
        self.ring.close()
