"""All records of a query, page by page, so that memory holds one page whatever there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from neo_polystore.records.query import Query
from neo_polystore.records.results import Page

R = TypeVar("R")


async def each(find: Callable[[Query], Awaitable[Page[R]]], query: Query) -> AsyncIterator[R]:
    """The records that satisfy the query, in its order, read in pages of its limit.

    `find` is a port's. What was there from the start is visited exactly once, whatever is
    written meanwhile.
    """
    after: str | None = query.after
    while True:
        page = await find(replace(query, after=after))
        for record in page.records:
            yield record
        after = page.next
        if after is None:
            return
