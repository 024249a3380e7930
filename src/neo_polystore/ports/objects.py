"""Objects: bytes of any size under a name in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.objects import StoredObject


class Objects(Records[StoredObject], Protocol):
    """Objects by `bucket/name`; another content under a name replaces it, atomically.

    A reader sees the old content or the new, never a mixture. `find` lists without content.
    """

    async def put(
        self,
        bucket: str,
        name: str,
        chunks: AsyncIterable[bytes],
        *,
        content_type: str = "application/octet-stream",
    ) -> StoredObject:
        """Store a stream in bounded memory; durable when this returns, absent if it fails."""

    def open(self, bucket: str, name: str) -> AsyncIterator[bytes]:
        """The content in chunks; raises NotFoundError, and IntegrityError at a wrong checksum."""

    async def delete(self, key: str) -> None:
        """Delete one object; raises NotFoundError."""
