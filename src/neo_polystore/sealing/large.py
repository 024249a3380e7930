"""Items of any size: sealed from parts as they come, opened and sealed anew part by part."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

from neo_polystore.errors import NotFoundError, PolystoreError
from neo_polystore.ports.sealing import Items
from neo_polystore.records.sealing import Binding, Head, Opener
from neo_polystore.records.sealing_policies import SealingPolicy
from neo_polystore.sealing.acting import Acting, RetiredError, written
from neo_polystore.sealing.blob import WHOLE, unseal
from neo_polystore.sealing.derivation import MasterKey
from neo_polystore.sealing.drafts import Draft, OpenedParts
from neo_polystore.sealing.envelope import LONGEST_HEADER, TAG, Buffer
from neo_polystore.sealing.judging import newest, next_version
from neo_polystore.sealing.spool import Resealed, Spool
from neo_polystore.sealing.stream import StreamOpener

AT_ONCE: Final = 4
"""Chunks that are read by one statement: about 1 MiB."""


class LargeItems(Acting):
    """What works with the memory of a few chunks, whatever the size of the item."""

    async def seal_parts(self, draft: Draft, parts: AsyncIterable[Buffer]) -> Head:
        """Seal one item whose content comes in parts; the draft has none. See `seal_all`.

        What has come is put aside, encrypted, until all of it is there: nobody's slowness holds
        a connection of the store, and content that breaks off is never stored.
        """

        async def work() -> Head:
            policies = await self._prepared([draft])
            policy = policies.get(draft.policy_name)
            with Spool() as spool:
                async for part in parts:
                    self._fits(spool.size + len(part))
                    spool.write(part)
                spool.finish()
                return await self._retried(
                    lambda: self._seal_spooled(draft, spool, policy),
                    patient=draft.expected is None,
                )

        return await self._audited("CREATE", [draft.data_key], work)

    async def open_parts(self, data_key: str, opener: Opener) -> OpenedParts:
        """Open one item part by part; see `open_all`.

        Its MAC has proven right and the audit entry is durable before this answers. The parts
        are read afterwards; ConflictError ends them where the item is changed meanwhile.
        """

        async def work() -> OpenedParts:
            async with self._items.begin(self.owner, self._scope) as items:
                found = (await items.fetch([data_key], blobs=False)).get(data_key)
                head = newest(data_key, found, now=self._clock())
                await self._admit([head], opener)
                if head.size <= WHOLE:
                    parts = _once(await self._whole(items, head))
                else:
                    parts = self._recorded(
                        head, self._parts(head, await self._checked(items, head))
                    )
                await self._record("READ", [data_key], [head])
            return OpenedParts(head, parts)

        return await self._audited("READ", [data_key], work)

    async def reseal_large(self, data_key: str) -> int:
        """As `reseal` does, one item with the memory of a few chunks."""

        async def work() -> int:
            self._ring.refresh()
            return await self._retried(lambda: self._reseal_parts(data_key), patient=True)

        return await self._audited("UPDATE", [data_key], work)

    async def _seal_spooled(self, draft: Draft, spool: Spool, policy: SealingPolicy | None) -> Head:
        master, key = await self._ring.active(), draft.data_key
        async with self._items.begin(self.owner, self._scope) as items:
            found = (await items.fetch([key], blobs=False)).get(key)
            binding = self._binding(draft, next_version(key, found, expected=draft.expected))
            mac = await _staged(items, spool, master, binding)
            head = self._head(
                draft,
                binding,
                found,
                mac=mac,
                key_id=master.id,
                size=spool.size,
                policy=policy,
            )
            if not await items.put([head], None):
                raise RetiredError
            await self._record(written([head]), [key], [head])
        return head

    async def _reseal_parts(self, data_key: str) -> int:
        master = await self._ring.active()
        async with self._items.begin(self.owner, self._scope) as items:
            found = (await items.fetch([data_key], blobs=False)).get(data_key)
            try:
                head = newest(data_key, found, now=None)
            except NotFoundError:
                return 0
            if head.key_id == master.id:
                return 0
            checked = await self._checked(items, head)
        with Spool() as spool:
            async for part in self._parts(head, checked):
                spool.write(part)
            spool.finish()
            async with self._items.begin(self.owner, self._scope) as items:
                mac = await _staged(items, spool, master, head.binding)
                anew = replace(head, mac=mac, key_id=master.id, generation=head.generation + 1)
                if not await items.put([anew], None, same_versions=True):
                    raise RetiredError
                await self._record("UPDATE", [data_key], [anew])
        return 1

    async def _whole(self, items: Items, head: Head) -> memoryview:
        [blob], _ = await items.slices(head, [(0, 2 * WHOLE)])
        master = await self._ring.key(head.key_id)
        return unseal(blob, head.mac, master=master, binding=head.binding)

    async def _checked(self, items: Items, head: Head) -> StreamOpener:
        """What opens the stored blob, when its MAC has proven right."""
        master = await self._ring.key(head.key_id)
        [beginning], length = await items.slices(head, [(0, LONGEST_HEADER)])
        opener = StreamOpener.of(beginning, length, master=master, binding=head.binding)
        tags, _ = await items.slices(head, [(at, TAG) for at in opener.tags()])
        opener.check(tags, head.mac)
        return opener

    async def _parts(self, head: Head, opener: StreamOpener) -> AsyncIterator[memoryview]:
        for group in _groups(enumerate(opener.chunks())):
            async with self._items.begin(self.owner, self._scope) as items:
                sealed, _ = await items.slices(head, [place for _, place in group])
            for (number, _), part in zip(group, sealed, strict=True):
                yield opener.open(number, part)

    async def _recorded(
        self, head: Head, parts: AsyncIterator[memoryview]
    ) -> AsyncIterator[memoryview]:
        try:
            async for part in parts:
                yield part
        except PolystoreError as error:
            why = f"{type(error).__name__}: {error.message}"
            await self._record("READ", [head.binding.data_key], [head], error=why)
            raise


async def _once(content: memoryview) -> AsyncIterator[memoryview]:
    yield content


async def _staged(items: Items, spool: Spool, master: MasterKey, binding: Binding) -> bytes:
    """Send the content, sealed; its MAC."""
    sealed = Resealed(spool.parts(), master=master, binding=binding)
    await items.stage(sealed)
    return sealed.mac


def _groups(
    chunks: Iterator[tuple[int, tuple[int, int]]],
) -> Iterator[list[tuple[int, tuple[int, int]]]]:
    while group := list(islice(chunks, AT_ONCE)):
        yield group
