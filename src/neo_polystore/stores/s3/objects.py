"""Objects in S3. The SHA-256 stands in each object's metadata, under the name `sha256`.

Objects of other programs may lack it: they are listed and read without a check. Names that no
object of ours can have (`a//b`, `folder/`) are left out of listings.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from typing import Any, ClassVar

from neo_polystore.errors import IntegrityError, NotFoundError, ValidationError
from neo_polystore.objectkit.objects import ObjectRecords, Outcome
from neo_polystore.objectkit.query import Bounds
from neo_polystore.ports.objects import Objects
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.s3.client import S3Client
from neo_polystore.stores.s3.errors import STORE
from neo_polystore.stores.s3.listing import list_objects
from neo_polystore.stores.s3.sending import place
from neo_polystore.stores.s3.spool import Spool
from neo_polystore.stores.s3.stat import described, stat

_CHUNK = 1 << 20


class S3Objects(ObjectRecords):
    """`ports.objects.Objects` in S3. New, existing or replaced is decided by the checksum that
    stood there just before; two writers of one new name at the same time may both say new."""

    engine: ClassVar[str] = STORE
    unlisted: ClassVar[frozenset[str]] = frozenset({"content_type", "sha256"})

    def __init__(self, client: S3Client):
        self._client = client

    async def put(
        self,
        bucket: str,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "application/octet-stream",
    ) -> StoredObject:
        """Store a stream; see `ports.objects`. Raises ValidationError for a name it cannot have."""
        record = StoredObject.parse({"bucket": bucket, "name": name, "content_type": content_type})
        config = self._client.config
        spool = Spool(config.part_size, config.spool_directory)
        try:
            waiting = bytearray()
            async for chunk in chunks:
                waiting += chunk
                if len(waiting) >= _CHUNK:
                    await self._client.run("put", partial(spool.write, waiting))
                    waiting = bytearray()
            await self._client.run("put", partial(spool.write, waiting))
            return (await place(self._client, record, spool))[0]
        finally:
            spool.close()

    async def open(self, bucket: str, name: str) -> AsyncIterator[bytes]:
        """The content; what is replaced or deleted meanwhile is read to its end all the same.

        A wrong checksum is noticed, and IntegrityError raised, after the last chunk.
        """
        answer = await self._fetch(*self.named(bucket, name))
        body, digest = answer["Body"], hashlib.sha256()
        try:
            while chunk := await self._client.run("open", partial(body.read, _CHUNK)):
                digest.update(chunk)
                yield chunk
        finally:
            body.close()
        _check(described(bucket, name, answer), digest.hexdigest())

    async def load(self, bucket: str, name: str) -> StoredObject:
        """One object with its content."""
        answer = await self._fetch(bucket, name)
        record = described(bucket, name, answer)
        try:
            content = await self._client.run("get", answer["Body"].read)
        finally:
            answer["Body"].close()
        _check(record, hashlib.sha256(content).hexdigest())
        return record.model_copy(update={"content": content})

    async def delete(self, key: str) -> None:
        """Delete one object; raises NotFoundError."""
        bucket, name = self.split(key)
        if await stat(self._client, bucket, name) is None:
            raise self.missing(bucket, name)
        delete = partial(
            self._client.driver.delete_object, Bucket=self._client.bucket(bucket), Key=name
        )
        await self._client.run("delete", delete)

    async def discard(self, record: StoredObject) -> bool:
        """Delete an object unless it was stored anew since `record` was listed.

        The service is asked right before; it has no delete that does both at once.
        """
        found = await stat(self._client, record.bucket, record.name)
        if found is None or (found.modified, found.sha256) != (record.modified, record.sha256):
            return False
        await self.delete(record.key)
        return True

    async def store(self, record: StoredObject) -> Outcome:
        """Store one object of a batch."""
        config = self._client.config
        spool = Spool(config.part_size, config.spool_directory)
        try:
            await self._client.run("write", partial(spool.write, record.content or b""))
            return (await place(self._client, record, spool))[1]
        finally:
            spool.close()

    async def complete(self, found: list[StoredObject]) -> list[StoredObject]:
        """Ask for the metadata of each, which listings do not carry."""
        described = await asyncio.gather(*(stat(self._client, r.bucket, r.name) for r in found))
        return [record for record in described if record is not None]

    async def listing(self, bounds: Bounds) -> AsyncIterator[StoredObject]:
        """Page by page to the end of the listing."""
        async for record in list_objects(self._client, bounds):
            yield record

    async def _fetch(self, bucket: str, name: str) -> Any:
        fetch = partial(
            self._client.driver.get_object, Bucket=self._client.bucket(bucket), Key=name
        )
        try:
            return await self._client.run("get", fetch)
        except (NotFoundError, ValidationError):
            raise self.missing(bucket, name) from None


def _check(record: StoredObject, digest: str) -> None:
    if record.sha256 is not None and digest != record.sha256:
        raise IntegrityError(
            f"{record.key}: the content's SHA-256 is {digest}, stored was {record.sha256}",
            store=STORE,
            operation="read",
        )


_: type[Objects] = S3Objects
