"""Sealed blobs: opaque bytes with an owner, a policy and a version."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.sealed import SealedBlob


class Sealed(Records[SealedBlob], Protocol):
    """Blobs of the scope's tenant by owner and data key; a changed blob raises the version by one.

    `find` answers blobs too: keep its limit small. The bytes never reach a cache or a log.
    """

    async def delete(self, key: str) -> None:
        """Delete one blob; raises NotFoundError."""
