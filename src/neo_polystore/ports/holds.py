"""Legal holds: what must not be deleted, whatever its age."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class HoldDraft:
    """What to hold of which data types, and why. Without further fields: all of them.

    `conditions` are in the query language (`field=value`), `words` are searched as by `--text`.
    What is held satisfies all that is given.
    """

    data_types: tuple[str, ...]
    reason: str
    added_by: str
    tenant: UUID | None = None
    key: str | None = None
    conditions: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    words: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold on record. `in_force_at`: from then on nothing that it covers can be deleted."""

    id: int
    data_types: tuple[str, ...]
    tenant: UUID | None
    key: str | None
    conditions: tuple[str, ...]
    since: datetime | None
    until: datetime | None
    words: str | None
    reason: str
    added_by: str
    added_at: datetime
    in_force_at: datetime | None
    released_by: str | None
    released_at: datetime | None
    release_reason: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """The holds on a data type that are not released, and the number of the last one added.

    `deadline`: until when new ones are kept out, whatever becomes of this process.
    """

    generation: int
    holds: tuple[Hold, ...]
    deadline: datetime | None = None


class Holds(Protocol):
    """Holds, and the order between adding one and deleting: see decision 0015.

    Raises UnavailableError where the store that keeps them cannot be reached: nothing is deleted
    then.
    """

    async def add(self, draft: HoldDraft, *, patience: float = 60.0) -> Hold:
        """Put a hold on record, after every deletion that began without it has ended.

        Raises UnavailableError where one lasts longer than `patience` seconds: there is no hold
        then.
        """

    async def settled(self, hold: int) -> Hold:
        """Record that the hold is in force: the engines' own mechanisms rest."""

    async def release(self, hold: int, *, by: str, reason: str) -> Hold:
        """Release a hold; raises NotFoundError for one that is not there or released already."""

    async def find(self, *, released: bool = False) -> Sequence[Hold]:
        """Holds, the newest first; those that are released only when asked for."""

    async def standing(self, data_type: str) -> Standing:
        """What is held of a data type now."""

    def deleting(
        self, data_type: str, *, holder: str, seconds: float
    ) -> AbstractAsyncContextManager[Standing]:
        """Keep new holds out while the block deletes; what is held as it begins.

        What the block asks of another store has to end within `seconds` by that store's own
        clock, also when this process dies: a new hold waits as long for a block that died, or
        that was left by an error.
        """
