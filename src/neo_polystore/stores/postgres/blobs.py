"""What the blobs of users and of services have in common: they share tables with sealed items."""

from __future__ import annotations

from typing import Any, ClassVar, Final, TypeVar

from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.ids import uuid7
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

COLUMNS: Final = {
    "id": "uuid",
    "data_key": "text",
    "enclave_id": "text",
    "policy": "text",
    "mac": "text",
    "blob": "bytea",
    "version": "int",
}
"""What comes in of each, as `row_of` fills it; each kind adds its own."""


def row_of(blob: EnclaveBlob, data_key: str) -> tuple[Any, ...]:
    """The values of `COLUMNS`, under the key that is stored."""
    return (
        uuid7(), data_key, blob.enclave_id, blob.policy, blob.mac, blob.blob, blob.version,
    )  # fmt: skip


def weigh(blob: EnclaveBlob) -> int:
    """See `Merge.weigh`."""
    return 1 + len(blob.blob) // 4096


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
