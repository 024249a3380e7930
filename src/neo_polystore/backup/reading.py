"""The streams of a run as a restore reads them: ahead of it, and verified to the byte."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from neo_polystore.backup.keys import BackupKey
from neo_polystore.backup.manifest import Manifest, Part, SavedStore, SavedStream, place_of
from neo_polystore.backup.parts import unseal
from neo_polystore.backup.targets import Target
from neo_polystore.errors import BackupError, IntegrityError

AHEAD = 2
"""Parts of a stream that are fetched before they are asked for."""


class RunReader:
    """Fetches parts of a run on a few threads."""

    def __init__(
        self,
        target: Target,
        manifest: Manifest,
        *,
        key: BackupKey | None,
        advanced: Callable[[int, int], None] = lambda content, stored: None,
    ):
        self.manifest = manifest
        self._target = target
        self._key = key
        self._advanced = advanced
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="restore")

    def store(
        self,
        name: str,
        *,
        chosen: Callable[[str], bool] = lambda stream: True,
        as_it_was: bool = False,
    ) -> SavedParts:
        """What the run has of a store, without the streams that are not `chosen`."""
        store = self.manifest.store(name)
        return SavedParts(self, store, chosen, before={} if as_it_was else store.before)

    async def missing(self) -> list[str]:
        """Parts that the target does not list, or lists with another size: one line each."""
        folder = self.manifest.folder
        found = await asyncio.to_thread(
            lambda: {item.name: item.size for item in self._target.list(folder)}
        )
        lines = []
        for store in self.manifest.stores:
            for stream in store.streams:
                for part in stream.parts:
                    size = found.get(folder + part.name)
                    if size is None:
                        lines.append(f"{part.name} is missing")
                    elif size != part.stored_bytes:
                        lines.append(f"{part.name} has {size} bytes, not {part.stored_bytes}")
        return lines

    async def read(self, store: str, stream: SavedStream) -> AsyncIterator[bytes]:
        """The content of one stream, part by part."""
        loop = asyncio.get_running_loop()
        waiting: deque[asyncio.Future[bytes]] = deque()
        try:
            for number, part in enumerate(stream.parts):
                work = partial(self._load, store, stream.name, number, part)
                waiting.append(loop.run_in_executor(self._threads, work))
                if len(waiting) > AHEAD:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for future in waiting:
                future.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    def _load(self, store: str, stream: str, number: int, part: Part) -> bytes:
        data = self._target.get(self.manifest.folder + part.name, most=part.stored_bytes)
        if len(data) != part.stored_bytes:
            raise IntegrityError(f"{part.name}: has {len(data)} bytes, not {part.stored_bytes}")
        if hashlib.sha256(data).hexdigest() != part.stored_sha256:
            raise IntegrityError(f"{part.name}: its bytes are not those that were stored")
        content = unseal(
            data,
            place=place_of(self.manifest.id, store, stream, number),
            key=self._key,
            content_bytes=part.content_bytes,
            content_sha256=part.content_sha256,
        )
        self._advanced(len(content), len(data))
        return content

    async def close(self) -> None:
        """Wait for what is being fetched."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)


class SavedParts:
    """One store of a run, as `ports.backup.Saved`."""

    def __init__(
        self,
        reader: RunReader,
        store: SavedStore,
        chosen: Callable[[str], bool],
        *,
        before: Mapping[str, Any],
    ):
        self.before = before
        self._reader = reader
        self._store = store
        self._streams = {s.name: s for s in store.streams if chosen(s.name)}

    @property
    def names(self) -> Sequence[str]:
        """Streams in the order of the snapshot."""
        return list(self._streams)

    @property
    def positions(self) -> Mapping[str, Any]:
        """The snapshot's positions."""
        return self._store.positions

    def rows(self, name: str) -> int | None:
        """As the manifest says."""
        return self._stream(name).rows

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Verified content."""
        return self._reader.read(self._store.name, self._stream(name))

    def _stream(self, name: str) -> SavedStream:
        if name not in self._streams:
            raise BackupError(f"run {self._reader.manifest.id} has no {self._store.name}/{name}")
        return self._streams[name]
