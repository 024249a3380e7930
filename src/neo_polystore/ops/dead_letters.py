"""Which dead letters an operator means, before anything is done with them."""

from __future__ import annotations

from collections.abc import Sequence

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.outbox import DeadLetter, OutboxAdmin

MOST = 10_000
"""Dead letters that are shown at once."""


async def open_letters(
    admin: OutboxAdmin, ids: Sequence[int] | None, *, limit: int = MOST
) -> list[DeadLetter]:
    """Those with these ids, or all (up to `limit`), that nobody has replayed or discarded.

    NotFoundError names the ids of those that are none, or are settled already.
    """
    most = limit if ids is None else len(set(ids))
    letters = await admin.dead_letters(ids=ids, limit=most)
    if missing := sorted(set(ids or ()) - {letter.id for letter in letters}):
        raise NotFoundError(
            f"no dead letter that is open has id {', '.join(map(str, missing))}", store="postgres"
        )
    return letters
