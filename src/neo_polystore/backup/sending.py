"""Cuts streams into parts, and compresses, encrypts and sends them while more is being read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Part, folder_of, part_name, place_of
from neo_polystore.backup.parts import seal
from neo_polystore.backup.targets import Target

PART_BYTES = 16 << 20
IN_FLIGHT = 6
"""Parts between being cut and being stored. With their stored bytes, and one that is filled per
stream, they are what a backup keeps in memory: about 16 MiB x (2 x 6 + 4)."""

Advanced = Callable[[int, int, int], None]
"""Told of each part that is done: bytes of content, bytes stored, bytes sent (none if there)."""


class Sender:
    """Sends the streams of one run. `existing` are sizes by name of what the target has of it.

    Such a part is not sent again: its name holds a digest of its bytes, and it was stored whole.
    """

    def __init__(
        self,
        target: Target,
        run: str,
        *,
        key: BackupKey | None,
        existing: Mapping[str, int],
        part_bytes: int = PART_BYTES,
        advanced: Advanced = lambda content, stored, sent: None,
    ):
        self._target = target
        self._run = run
        self._key = key
        self._existing = existing
        self._part_bytes = part_bytes
        self._advanced = advanced
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._threads = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="backup")

    async def send(self, store: str, stream: str, chunks: AsyncIterator[bytes]) -> tuple[Part, ...]:
        """Store everything that comes; returns when all of it is durable."""
        try:
            return await self._send(store, stream, chunks)
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        finally:
            if isinstance(chunks, AsyncGenerator):  # what it holds open is let go of now
                await chunks.aclose()

    async def _send(
        self, store: str, stream: str, chunks: AsyncIterator[bytes]
    ) -> tuple[Part, ...]:
        size = self._part_bytes
        filling = bytearray()
        async with asyncio.TaskGroup() as group:
            sent: list[asyncio.Task[Part]] = []

            async def cut(content: bytes | bytearray) -> None:
                await self._slots.acquire()
                sent.append(group.create_task(self._sent(store, stream, len(sent), content)))

            async for chunk in chunks:
                filling += chunk
                while len(filling) >= size:
                    if len(filling) == size:
                        whole, filling = filling, bytearray()
                    else:
                        whole, filling = filling[:size], filling[size:]
                    await cut(whole)
            if filling or not sent:
                await cut(filling)
        return tuple(task.result() for task in sent)

    async def _sent(self, store: str, stream: str, number: int, content: bytes | bytearray) -> Part:
        try:
            work = partial(self._store, store, stream, number, content)
            part, sent = await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._slots.release()
        self._advanced(part.content_bytes, part.stored_bytes, sent)
        return part

    def _store(
        self, store: str, stream: str, number: int, content: bytes | bytearray
    ) -> tuple[Part, int]:
        place = place_of(self._run, store, stream, number)
        sealed = seal(content, place=place, key=self._key)
        name = part_name(store, stream, number, sealed.sha256, encrypted=self._key is not None)
        path = folder_of(self._run) + name
        sent = 0
        if self._existing.get(path) != len(sealed.data):
            self._target.put(path, sealed.data)
            sent = len(sealed.data)
        part = Part(
            name=name,
            content_bytes=sealed.content_bytes,
            content_sha256=sealed.content_sha256,
            stored_bytes=len(sealed.data),
            stored_sha256=sealed.sha256,
        )
        return part, sent

    async def close(self) -> None:
        """Wait for what is being stored."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
