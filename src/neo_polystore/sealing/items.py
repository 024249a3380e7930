"""The sealed items of one owner: seal, open, list, delete, each with its audit entry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar

from neo_polystore.errors import ConflictError, NotFoundError, UsageError
from neo_polystore.ports.sealing import Items
from neo_polystore.records.sealing import Binding, Head, Identity, Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.acting import RetiredError, written
from neo_polystore.sealing.ahead import Ahead
from neo_polystore.sealing.blob import Sealed, seal, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.drafts import Draft, Opened, Rules
from neo_polystore.sealing.judging import missing, newest, next_version
from neo_polystore.sealing.large import LargeItems

__all__ = ["Draft", "Opened", "OwnItems", "Rules"]

T = TypeVar("T")

LARGE: Final = 1 << 20
"""Bytes from which on the cipher works in a thread."""

SLICE: Final = 1 << 19
"""Bytes of content that are stored by one statement, where there is more than one item."""


class OwnItems(LargeItems):
    """The items of one owner. `seal_parts` and `open_parts` hold no item in memory as a whole."""

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
            if not drafts or len(set(keys)) != len(keys):
                raise UsageError("seal one item or more, each key once", operation="sealing")
            policies = await self._prepared(drafts)
            patient = all(draft.expected is None for draft in drafts)
            return await self._retried(lambda: self._seal(ordered, policies), patient=patient)

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
            return await self._retried(lambda: self._reseal(sorted(set(data_keys))), patient=True)

        return await self._audited("UPDATE", data_keys, work)

    async def reseal_for(self, data_key: str, opener: Opener, **changes: Any) -> Head:
        """Open an item as this opener and seal it again, as the next version.

        `changes` are of its identity: another measurement, SVN floor or label. It stays under
        its policy and keeps its expiry; the attestation is the opener's. Errors as of `open` and
        `seal`; ConflictError where it was changed meanwhile.
        """
        opened = await self.open_parts(data_key, opener)
        head, binding = opened.head, opened.head.binding
        draft = Draft(
            data_key,
            b"",
            Identity.of(**{**binding.identity.model_dump(), **changes}),
            enclave=binding.enclave,
            policy_name=binding.policy_name,
            expected=binding.version,
            attestation=opener.attestation,
            expires_at=head.expires_at,
        )
        return await self.seal_parts(draft, opened.parts)

    async def under(self, key_id: str, *, after: str = "", limit: int = 100) -> Sequence[Head]:
        """Items that are sealed under a master key."""
        async with self._items.begin(self.owner, self._scope) as items:
            return await items.list(after=after, limit=limit, key_id=key_id)

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
            heads: list[Head] = []
            async with Ahead() as storing:
                for drafted, bound in _slices(drafts, bindings):
                    contents = [draft.content for draft in drafted]
                    sealed = await _sealed(contents, bound, master)
                    made = [
                        self._head(
                            draft,
                            binding,
                            found[draft.data_key],
                            mac=one.mac,
                            key_id=master.id,
                            size=len(draft.content),
                            policy=policies.get(draft.policy_name),
                        )
                        for draft, binding, one in zip(drafted, bound, sealed, strict=True)
                    ]
                    await storing.begin(_put(items, made, sealed))
                    heads += made
            keys = [head.binding.data_key for head in heads]
            await self._record(written(heads), keys, heads)
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
            sealed = await _sealed(contents, bindings, master)
            anew = [
                replace(head, mac=one.mac, key_id=master.id, generation=head.generation + 1)
                for head, one in zip(heads, sealed, strict=True)
            ]
            await _put(items, anew, sealed, same_versions=True)
            await self._record("UPDATE", [head.binding.data_key for head in anew], anew)
        return len(heads)

    async def _unsealed(self, head: Head, blob: bytes | None) -> memoryview:
        blob = blob or b""
        master = await self._ring.key(head.key_id)
        return await _off_loop(
            [blob], lambda: unseal(blob, head.mac, master=master, binding=head.binding)
        )


async def _put(
    items: Items, heads: Sequence[Head], sealed: Sequence[Sealed], *, same_versions: bool = False
) -> None:
    blobs = [one.blob for one in sealed]
    if not await items.put(heads, blobs, same_versions=same_versions):
        raise RetiredError


def _slices(
    drafts: Sequence[Draft], bindings: Sequence[Binding]
) -> Iterator[tuple[list[Draft], list[Binding]]]:
    """What is sealed while the server stores what was before it; one item or more."""
    start = size = 0
    for at, draft in enumerate(drafts):
        if at > start and size + len(draft.content) > SLICE:
            yield list(drafts[start:at]), list(bindings[start:at])
            start, size = at, 0
        size += len(draft.content)
    yield list(drafts[start:]), list(bindings[start:])


async def _sealed(
    contents: Sequence[bytes | bytearray | memoryview],
    bindings: Sequence[Binding],
    master: MasterKey,
) -> list[Sealed]:
    return await _off_loop(
        contents,
        lambda: [
            seal(content, master=master, binding=binding)
            for content, binding in zip(contents, bindings, strict=True)
        ],
    )


async def _off_loop(contents: Sequence[bytes | bytearray | memoryview], work: Callable[[], T]) -> T:
    """In a thread where the cipher would keep the event loop busy for long."""
    if sum(map(len, contents)) >= LARGE:
        return await asyncio.to_thread(work)
    return work()
