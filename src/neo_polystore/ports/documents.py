"""Documents: records of one collection, checked by its validator."""

from __future__ import annotations

from typing import Any, Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.documents import Document


class Documents(Records[Document], Protocol):
    """One collection of `mongo/<collection>.json`; mutable by key.

    The validator holds for every write, by whatever client it comes. A document that breaks it
    is rejected with the path of the value and the rule that it breaks.
    """

    async def native(self, key: str) -> dict[str, Any]:
        """The stored document as the engine's own client sees it; raises NotFoundError."""
