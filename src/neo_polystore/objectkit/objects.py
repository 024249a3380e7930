"""The common half of an object port: names, scopes and batches."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from neo_polystore.errors import NotFoundError, ValidationError
from neo_polystore.objectkit.batch import prepare
from neo_polystore.objectkit.listing import ListedObjects
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.results import Rejection, Written
from neo_polystore.records.scope import Scope

Outcome = Literal["new", "existing", "replaced"]


class ObjectRecords(ListedObjects):
    """Base of the object ports; `parallel` is how many objects of a batch are stored at once."""

    engine: ClassVar[str]
    parallel: ClassVar[int] = 8

    @property
    def record(self) -> type[StoredObject]:
        """The record model."""
        return StoredObject

    def within(self, scope: Scope) -> Self:
        """The same port: no tenant owns objects."""
        return self

    @abstractmethod
    async def store(self, record: StoredObject) -> Outcome:
        """Store one object of a batch (content, size and SHA-256 are set), durably."""

    @abstractmethod
    async def load(self, bucket: str, name: str) -> StoredObject:
        """One object with its content; raises NotFoundError."""

    async def get(self, key: str) -> StoredObject:
        """The object with its content; raises NotFoundError."""
        return await self.load(*self.split(key))

    async def write(self, records: Sequence[StoredObject]) -> Written:
        """Store objects, several at once; each is durable and atomic by itself."""
        chosen, written = prepare(records)
        gate = asyncio.Semaphore(self.parallel)

        async def one(index: int, record: StoredObject) -> Outcome | Rejection:
            async with gate:
                try:
                    return await self.store(record)
                except ValidationError as error:
                    return Rejection(index, error.problems[0].field, error.problems[0].reason)

        results = await asyncio.gather(*(one(*each) for each in chosen), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Rejection):
                written.rejected.append(result)
            else:
                setattr(written, result, getattr(written, result) + 1)
        written.rejected.sort(key=lambda rejection: rejection.index)
        return written

    def split(self, key: str) -> tuple[str, str]:
        """Bucket and name of a key; NotFoundError for what cannot be one."""
        bucket, _, name = key.partition("/")
        return self.named(bucket, name)

    def named(self, bucket: str, name: str) -> tuple[str, str]:
        """The same two; NotFoundError for a bucket or name that no object can have."""
        try:
            StoredObject.parse({"bucket": bucket, "name": name})
        except ValidationError:
            raise self.missing(bucket, name) from None
        return bucket, name

    def missing(self, bucket: str, name: str) -> NotFoundError:
        """The error for an object that is not there."""
        return NotFoundError(
            f"no objects record with key {f'{bucket}/{name}'!r}", store=self.engine
        )
