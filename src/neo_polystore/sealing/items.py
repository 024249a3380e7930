"""The sealed items of one owner: seal, open, list, delete, each with its audit entry."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from neo_polystore.audit.trail import Action, AuditTrail
from neo_polystore.errors import (
    ConflictError,
    FieldProblem,
    NotFoundError,
    PolystoreError,
    UsageError,
    ValidationError,
)
from neo_polystore.ports.sealing import Items, SealedItems
from neo_polystore.records.scope import Scope
from neo_polystore.records.sealing import Binding, Head, Identity, Opener, Owner, ServiceOwner
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.blob import Sealed, seal, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.evidence import Evidence
from neo_polystore.sealing.judging import admit, fitting, missing, newest, next_version
from neo_polystore.sealing.ring import KeyRing

T = TypeVar("T")

ATTEMPTS: Final = 5
NAMED: Final = 100
"""Items that one audit entry names; of more it tells how many."""

LARGE: Final = 1 << 20
"""Bytes from which on the cipher works in a thread."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be sealed; `expected` is the version that is stored (0: none), None: any."""

    data_key: str
    content: bytes | bytearray | memoryview = field(repr=False)
    identity: Identity
    enclave: str = ""
    policy_name: str = ""
    expected: int | None = None
    attestation: UUID | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """An item and its content."""

    head: Head
    content: memoryview = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for all items: the largest content, days that services' items are kept."""

    largest: int = 64 << 20
    retention: timedelta = timedelta(days=90)
    hardware: bool = False


class _RetiredError(Exception):
    """The key that was sealed under is not the active one any more."""


class OwnItems:
    """The items of one owner. What fails is audited as well as what succeeds."""

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

    async def seal(self, draft: Draft) -> Head:
        """Seal one item; see `seal_all`."""
        return (await self.seal_all([draft]))[0]

    async def seal_all(self, drafts: Sequence[Draft]) -> list[Head]:
        """Seal and store items, all of them or none; durable when it answers.

        ConflictError where an expected version is not the stored one, or the key holds a blob
        that was sealed elsewhere; ValidationError for content over the limit or a bad key;
        ForbiddenError for an attestation that was rejected.
        """
        keys = [draft.data_key for draft in drafts]
        ordered = sorted(drafts, key=lambda draft: draft.data_key)

        async def work() -> list[Head]:
            self._check(drafts)
            policies = await self._policies({draft.policy_name for draft in drafts})
            for attestation in {draft.attestation for draft in drafts} - {None}:
                await self._evidence.accepted(cast(UUID, attestation))
            return await self._retried(lambda: self._seal(ordered, policies), drafts)

        heads = await self._audited("CREATE", keys, work)
        by_key = {head.binding.data_key: head for head in heads}
        return [by_key[key] for key in keys]

    async def open(self, data_key: str, opener: Opener) -> Opened:
        """Open one item; see `open_all`."""
        return (await self.open_all([data_key], opener))[0]

    async def open_all(self, data_keys: Sequence[str], opener: Opener) -> list[Opened]:
        """The items' contents, in this order, all of them or an error.

        NotFoundError, ForbiddenError for an opener that they are not sealed for, IntegrityError
        where anything was altered, rolled back, or the key destroyed. The audit entry of the
        reading is durable before this answers.
        """

        async def work() -> list[Opened]:
            async with self._items.begin(self.owner, self._scope) as items:
                found = await items.fetch(data_keys)
                heads = [newest(key, found.get(key), now=self._clock()) for key in data_keys]
                await self._admit(heads, opener)
                opened = [
                    Opened(head, await self._unsealed(head, found[head.binding.data_key].blob))
                    for head in heads
                ]
                await self._record("READ", data_keys, heads)
            return opened

        return await self._audited("READ", data_keys, work)

    async def heads(self, *, after: str = "", limit: int = 100, prefix: str = "") -> Sequence[Head]:
        """Items in the order of their keys, without content; `after` is the last one's key."""
        async with self._items.begin(self.owner, self._scope) as items:
            heads = await items.list(after=after, limit=limit, prefix=prefix)
            await self._record("READ", [head.binding.data_key for head in heads], ())
        return heads

    async def delete(self, data_key: str, *, expected: int | None = None) -> None:
        """Delete an item; NotFoundError. ConflictError where `expected` is not its version."""

        async def work() -> None:
            async with self._items.begin(self.owner, self._scope) as items:
                found = (await items.fetch([data_key], blobs=False)).get(data_key)
                if found is None or found.version is None or found.head is None:
                    raise missing(data_key)
                if expected is not None and expected != found.head.binding.version:
                    raise ConflictError(
                        f"{data_key!r} has version {found.head.binding.version},"
                        f" expected {expected}"
                    )
                await items.delete(found.head)
                await self._record("DELETE", [data_key], [found.head])

        await self._audited("DELETE", [data_key], work)

    async def reseal(self, data_keys: Sequence[str]) -> int:
        """Seal items anew under the active key, same content and version; how many were.

        Those under the active key already, and those that are gone, are passed over.
        """

        async def work() -> int:
            self._ring.refresh()  # what this process holds for the active key may be retiring
            return await self._retried(lambda: self._reseal(sorted(set(data_keys))), ())

        return await self._audited("UPDATE", data_keys, work)

    async def under(self, key_id: str, *, after: str = "", limit: int = 100) -> list[str]:
        """Keys of items that are sealed under a master key."""
        async with self._items.begin(self.owner, self._scope) as items:
            heads = await items.list(after=after, limit=limit, key_id=key_id)
        return [head.binding.data_key for head in heads]

    async def _seal(
        self, drafts: Sequence[Draft], policies: dict[str, SealingPolicy]
    ) -> list[Head]:
        master = await self._ring.active()
        async with self._items.begin(self.owner, self._scope) as items:
            found = await items.fetch([draft.data_key for draft in drafts], blobs=False)
            bindings = []
            for draft in drafts:
                stored = found.get(draft.data_key)
                version = next_version(draft.data_key, stored, expected=draft.expected)
                bindings.append(self._binding(draft, version))
            contents = [draft.content for draft in drafts]
            sealed = await _off_loop(contents, lambda: _seal_each(contents, bindings, master))
            heads, now = [], self._clock()
            for draft, binding, one in zip(drafts, bindings, sealed, strict=True):
                before = found[draft.data_key].head
                heads.append(
                    Head(
                        binding=binding,
                        mac=one.mac,
                        key_id=master.id,
                        generation=before.generation + 1 if before else 1,
                        size=len(draft.content),
                        sealed_at=now,
                        written_at=now,
                        expires_at=self._expiry(draft, policies.get(draft.policy_name), now),
                        attestation=draft.attestation,
                    )
                )
            await self._put(items, heads, sealed)
            action: Action = "CREATE" if all(h.binding.version == 1 for h in heads) else "UPDATE"
            await self._record(action, [h.binding.data_key for h in heads], heads)
        return heads

    async def _reseal(self, data_keys: Sequence[str]) -> int:
        master = await self._ring.active()
        async with self._items.begin(self.owner, self._scope) as items:
            found = await items.fetch(data_keys)
            heads, contents = [], []
            for key in data_keys:
                try:
                    head = newest(key, found.get(key), now=None)
                except NotFoundError:
                    continue
                if head.key_id != master.id:
                    contents.append(await self._unsealed(head, found[key].blob))
                    heads.append(head)
            if not heads:
                return 0
            bindings = [head.binding for head in heads]
            sealed = await _off_loop(contents, lambda: _seal_each(contents, bindings, master))
            anew = [
                replace(head, mac=one.mac, key_id=master.id, generation=head.generation + 1)
                for head, one in zip(heads, sealed, strict=True)
            ]
            await self._put(items, anew, sealed, same_versions=True)
            await self._record("UPDATE", [head.binding.data_key for head in anew], anew)
        return len(heads)

    async def _put(
        self,
        items: Items,
        heads: Sequence[Head],
        sealed: Sequence[Sealed],
        *,
        same_versions: bool = False,
    ) -> None:
        blobs = [one.blob for one in sealed]
        if not await items.put(heads, blobs, same_versions=same_versions):
            raise _RetiredError

    async def _unsealed(self, head: Head, blob: bytes | None) -> memoryview:
        blob = blob or b""
        master = await self._ring.key(head.key_id)
        return await _off_loop(
            [blob], lambda: unseal(blob, head.mac, master=master, binding=head.binding)
        )

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

    def _binding(self, draft: Draft, version: int) -> Binding:
        return Binding(
            owner=self.owner,
            data_key=draft.data_key,
            enclave=draft.enclave,
            identity=draft.identity,
            version=version,
            policy_name=draft.policy_name,
        )

    def _check(self, drafts: Sequence[Draft]) -> None:
        if not drafts or len({draft.data_key for draft in drafts}) != len(drafts):
            raise UsageError("seal one item or more, each key once", operation="sealing")
        for draft in drafts:
            if not 0 < len(draft.data_key) <= 200 or "\0" in draft.data_key:
                raise _bad("data_key", "expected 1 to 200 characters and no NUL")
            if len(draft.enclave) > 255 or "\0" in draft.enclave:
                raise _bad("enclave", "expected at most 255 characters and no NUL")
            if len(draft.content) > self._rules.largest:
                raise _bad(
                    "content",
                    f"{len(draft.content):,} bytes, at most {self._rules.largest:,} are sealed"
                    " (NEO_SEALED_MAX_BYTES)",
                )

    def _expiry(self, draft: Draft, policy: SealingPolicy | None, now: datetime) -> datetime | None:
        if policy is not None:
            fitting(policy, draft.identity)
        if not isinstance(self.owner, ServiceOwner):
            return None
        days = timedelta(policy.retention_days) if policy else self._rules.retention
        return draft.expires_at or now + days

    async def _retried(self, work: Callable[[], Awaitable[T]], drafts: Sequence[Draft]) -> T:
        """Again under the new key where the key was retired, or where somebody was faster."""
        patient = all(draft.expected is None for draft in drafts)
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                return await work()
            except _RetiredError:
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


def _seal_each(
    contents: Sequence[bytes | bytearray | memoryview],
    bindings: Sequence[Binding],
    master: MasterKey,
) -> list[Sealed]:
    return [
        seal(content, master=master, binding=binding)
        for content, binding in zip(contents, bindings, strict=True)
    ]


async def _off_loop(contents: Sequence[bytes | bytearray | memoryview], work: Callable[[], T]) -> T:
    """In a thread where the cipher would keep the event loop busy for long."""
    if sum(map(len, contents)) >= LARGE:
        return await asyncio.to_thread(work)
    return work()


def _bad(field: str, reason: str) -> ValidationError:
    return ValidationError([FieldProblem(field, reason)], operation="sealing")
