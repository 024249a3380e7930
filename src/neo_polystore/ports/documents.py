"""Documents: records of one collection, checked by its validator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.documents import Document
from neo_polystore.records.history import Version
from neo_polystore.records.query import Query
from neo_polystore.records.results import Page


class Documents(Records[Document], Protocol):
    """One collection of `mongo/<collection>.json`; mutable by key.

    The validator holds for every write, by whatever client it comes. A document that breaks it
    is rejected with the path of the value and the rule that it breaks.
    """

    async def project(self, query: Query, fields: Sequence[str]) -> Page[dict[str, Any]]:
        """One page of the query with these fields or paths alone, each by the name asked for.

        `_id` is always there. What a document has not is left out, and so is what lies in an array
        on the way to the end of a path.
        """

    async def native(self, key: str) -> dict[str, Any]:
        """The stored document as the engine's own client sees it; raises NotFoundError."""

    async def versions(self, key: str) -> list[Version]:
        """Every state that the document has had, oldest first, the current one at the end.

        A write that changes nothing makes no version. None is lost, whoever writes at the same
        time. Raises NotFoundError, and UnsupportedError where the collection keeps none.
        """
