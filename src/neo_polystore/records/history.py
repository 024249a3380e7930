"""What a document was before it was replaced, in collections that keep it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from neo_polystore.errors import UnsupportedError
from neo_polystore.records.documents import Document


@dataclass(frozen=True, slots=True)
class Version:
    """One state of a document. Numbers count from 1; `replaced_at` is None for the current one."""

    number: int
    document: Document
    replaced_at: datetime | None


def require_versioned(record: type[Document], *, store: str) -> None:
    """Raise UnsupportedError where a collection keeps no versions."""
    if not record.collection.versioned:
        name = record.data_type
        raise UnsupportedError(f'{name} keep no versions: "versioned" in their file', store=store)
