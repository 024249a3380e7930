"""Links the entries that were stored without: their writer died, or the chains were away."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Final
from uuid import UUID

from neo_polystore.audit.digest import sealed
from neo_polystore.ports.audit import Chains, Sealed
from neo_polystore.ports.documents import Documents
from neo_polystore.records.query import Query

PAGE: Final = 1000


async def link_missing(
    documents: Documents, chains: Chains, *, since: datetime, until: datetime
) -> dict[str, int]:
    """Link the entries of [since, until) that have none; how many, by tenant.

    Whoever put an entry into the collection past the trail gets it linked too, as what it is
    then: the chain proves what came after its link, and `linked_at` says when that was.
    """
    window = Query(since=since, until=until, order="timestamp", limit=PAGE)
    found: dict[str, int] = {}
    for name in await documents.distinct(window, "tenant_id"):
        if name is not None:
            linked = await _link_tenant(documents, chains, str(name), window)
            if linked:
                found[str(name)] = linked
    return found


async def _link_tenant(documents: Documents, chains: Chains, name: str, window: Query) -> int:
    query = window.where("tenant_id", name)
    linked = 0
    while True:
        page = await documents.find(query)
        links = [link for link in map(sealed, page.records) if link is not None]
        linked += await chains.link(await _without(chains, links))
        if page.next is None:
            return linked
        query = replace(query, after=page.next)


async def _without(chains: Chains, links: Sequence[Sealed]) -> list[Sealed]:
    days: dict[tuple[UUID, date], list[str]] = defaultdict(list)
    for link in links:
        days[link.tenant, link.day].append(link.entry)
    known = {day: await chains.digests(*day, entries) for day, entries in days.items()}
    return [link for link in links if link.entry not in known[link.tenant, link.day]]
