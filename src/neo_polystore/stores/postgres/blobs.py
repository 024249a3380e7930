"""What the blobs of users and of services have in common: they share tables with sealed items."""

from __future__ import annotations

from typing import ClassVar, Final, TypeVar

from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.records.sealed import EnclaveBlob
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.merge import Refusal

B = TypeVar("B", bound=EnclaveBlob)

_OURS: Final = "it was sealed here: write and delete it as a sealed item"

REFUSALS: Final = {
    "ours": Refusal("data_key", _OURS),
    "stale": Refusal("version", "another version is stored by now: read it again"),
    "unseen": Refusal("data_key", "the key is being written by somebody else"),
}


class PgBlobs(PgRecords[B]):
    """Base of both; `sealed_here` selects a row where a key belongs to a sealed item."""

    sealed_here: ClassVar[str]

    async def delete(self, key: str) -> None:
        """Delete one blob; ConflictError for what was sealed here."""
        try:
            await super().delete(key)
        except NotFoundError:
            if await self._fetch("delete", self.sealed_here, list(self.identify(key))):
                raise ConflictError(f"{key!r}: {_OURS}", store=self.database.store) from None
            raise
