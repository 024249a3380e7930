"""Objects in a directory: one file each, written aside and renamed into place."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import ClassVar, ParamSpec, TypeVar

from neo_polystore.activity import Recorder
from neo_polystore.objectkit.objects import ObjectRecords, Outcome
from neo_polystore.objectkit.query import Bounds
from neo_polystore.objectkit.threads import finished
from neo_polystore.ports.objects import Objects
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files.config import FilesConfig
from neo_polystore.stores.files.errors import STORE, translated
from neo_polystore.stores.files.names import path_of
from neo_polystore.stores.files.reader import ObjectReader
from neo_polystore.stores.files.volume import Volume
from neo_polystore.stores.files.walk import walk
from neo_polystore.stores.files.writer import ObjectWriter, existing

P = ParamSpec("P")
T = TypeVar("T")

_LISTED_AT_ONCE = 256
_SWEEP_SECONDS = 60.0


class FilesObjects(ObjectRecords):
    """`ports.objects.Objects` in a directory that any number of processes may use at once."""

    engine: ClassVar[str] = STORE

    def __init__(self, volume: Volume, config: FilesConfig, recorder: Recorder | None = None):
        self._volume = volume
        self._recorder = recorder or Recorder("files")
        self._chunk = config.chunk_size
        self._swept = time.monotonic()

    async def put(
        self,
        bucket: str,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "application/octet-stream",
    ) -> StoredObject:
        """Store a stream; see `ports.objects`. Raises ValidationError for a name it cannot have."""
        StoredObject.parse({"bucket": bucket, "name": name, "content_type": content_type})
        writer = ObjectWriter(self._volume, bucket, name, content_type)
        try:
            await self._run("put", self._begin, writer)
            waiting = bytearray()
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= self._chunk:
                    await self._run("put", writer.write, waiting)
                    waiting = bytearray()
            await self._run("put", writer.write, waiting)
            return (await self._run("put", writer.commit)).record
        finally:
            writer.end()

    async def open(self, bucket: str, name: str) -> AsyncIterator[bytes]:
        """The content; what is replaced or deleted meanwhile is read to its end all the same.

        A wrong checksum is noticed, and IntegrityError raised, after the last chunk.
        """
        reader = ObjectReader(self._path(*self.named(bucket, name)))
        try:
            record = await self._run("open", self._open, reader, bucket, name)
            while chunk := await self._run("open", reader.read, self._chunk):
                yield chunk
            reader.check(record)
        finally:
            reader.close()

    async def load(self, bucket: str, name: str) -> StoredObject:
        """One object with its content."""
        return await self._run("get", self._load, bucket, name)

    async def delete(self, key: str) -> None:
        """Delete one object, durably; raises NotFoundError."""
        bucket, name = self.split(key)
        await self._run("delete", self._delete, bucket, name)

    async def discard(self, record: StoredObject) -> bool:
        """Delete an object, durably, unless it was stored anew since `record` was listed."""
        return await self._run("discard", self._discard, record)

    async def store(self, record: StoredObject) -> Outcome:
        """Store one object of a batch; what is there already is not written again."""
        return await self._run("write", self._store, record)

    async def listing(self, bounds: Bounds) -> AsyncIterator[StoredObject]:
        """Objects without content, read from their headers."""
        found = walk(self._volume.root, bounds)
        while batch := await self._run("find", lambda: list(islice(found, _LISTED_AT_ONCE))):
            for record in batch:
                yield record

    def _begin(self, writer: ObjectWriter) -> None:
        if time.monotonic() - self._swept > _SWEEP_SECONDS:
            self._swept = time.monotonic()
            self._volume.sweep()
        writer.begin()

    def _store(self, record: StoredObject) -> Outcome:
        with self._volume.locked(path_of(record.bucket, record.name)):
            if existing(self._volume, record) is not None:
                return "existing"
        writer = ObjectWriter(self._volume, record.bucket, record.name, record.content_type)
        try:
            self._begin(writer)
            writer.write(record.content or b"")
            return writer.commit().outcome
        finally:
            writer.end()

    def _open(self, reader: ObjectReader, bucket: str, name: str) -> StoredObject:
        try:
            return reader.open()
        except FileNotFoundError:
            raise self.missing(bucket, name) from None

    def _load(self, bucket: str, name: str) -> StoredObject:
        reader = ObjectReader(self._path(bucket, name))
        try:
            record = self._open(reader, bucket, name)
            content = b"".join(iter(lambda: reader.read(self._chunk), b""))
            reader.check(record)
        finally:
            reader.close()
        return record.model_copy(update={"content": content})

    def _delete(self, bucket: str, name: str) -> None:
        relative = path_of(bucket, name)
        with self._volume.locked(relative):
            try:
                self._volume.remove(relative)
            except FileNotFoundError:
                raise self.missing(bucket, name) from None

    def _discard(self, record: StoredObject) -> bool:
        relative = path_of(record.bucket, record.name)
        with self._volume.locked(relative):
            reader = ObjectReader(self._volume.root / relative)
            try:
                if reader.open() != record:
                    return False
                self._volume.remove(relative)
            except FileNotFoundError:
                return False
            finally:
                reader.close()
        return True

    def _path(self, bucket: str, name: str) -> Path:
        return self._volume.root / path_of(bucket, name)

    async def _run(
        self, operation: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with self._recorder.statement(operation), translated(operation):
            return await finished(partial(work, *args, **kwargs))


_: type[Objects] = FilesObjects
