"""Sealed blobs: opaque bytes with an owner, a policy and a version."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from neo_polystore.ports.records import Records
from neo_polystore.records.sealed import BlobFacts, EnclaveBlob, SealedBlob, ServiceBlob

B = TypeVar("B", bound=EnclaveBlob)


class Blobs(Records[B], Protocol[B]):
    """Blobs of the scope's owner by data key; a changed blob raises the version by one.

    `find` answers blobs too: keep its limit small. The bytes never reach a cache or a log.
    """

    async def delete(self, key: str) -> None:
        """Delete one blob; raises NotFoundError, ConflictError for what was sealed here."""


Sealed = Blobs[SealedBlob]
"""Of the users of the scope's tenant."""


class ServiceBlobs(Blobs[ServiceBlob], Protocol):
    """Of the scope's service."""

    async def facts(
        self, *, prefix: str = "", after: str = "", limit: int = 100
    ) -> Sequence[BlobFacts]:
        """What blobs there are, in the order of their keys, those behind `after`."""
