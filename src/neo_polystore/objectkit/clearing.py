"""Removes every object through the port."""

from __future__ import annotations

from collections import Counter

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.objects import Objects
from neo_polystore.ports.store import Cleared
from neo_polystore.records.query import Query

_PAGE = 1_000


async def clear_objects(port: Objects, *, store: str, dry_run: bool) -> Cleared:
    """Count objects by bucket, and remove them unless it is a dry run."""
    rows: Counter[str] = Counter()
    query = Query(limit=_PAGE)
    while True:
        page = await port.find(query)
        for record in page.records:
            rows[record.bucket] += 1
            if not dry_run:
                await _delete(port, record.key)
        if page.next is None:
            return Cleared(store, dict(rows))
        query = Query(limit=_PAGE, after=page.next)


async def _delete(port: Objects, key: str) -> None:
    try:
        await port.delete(key)
    except NotFoundError:
        return  # somebody else was quicker
