"""The chains of the audit trail: what each entry was, bound to all entries before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry to be linked: its id, the day (UTC) of its time, and the digest of its content."""

    tenant: UUID
    day: date
    entry: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """One link of a chain; `hash` is SHA-256 of the hash before, the digest and the entry's id.

    The hash before the first one is SHA-256 of `neo_polystore audit chain 1`, the 16 bytes of the
    tenant and the day as YYYY-MM-DD.
    """

    seq: int
    entry: str
    digest: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: the number of its links and the hash of the last."""

    day: date
    seq: int
    hash: bytes


class Chains(Protocol):
    """One chain per tenant and day, in a store that is not the entries' own.

    Links are added and never changed; nobody can do so through this port.
    """

    async def link(self, entries: Sequence[Sealed]) -> int:
        """Add a link for each entry that has none yet, in this order; how many were added."""

    async def heads(
        self, tenant: UUID, *, first: date | None = None, last: date | None = None
    ) -> list[Head]:
        """The tenant's chains in order of days, `first` and `last` included."""

    async def links(self, tenant: UUID, day: date, *, after: int = 0, limit: int) -> list[Link]:
        """The next links of a chain behind the one with number `after`."""

    async def digests(self, tenant: UUID, day: date, entries: Sequence[str]) -> dict[str, bytes]:
        """The digests of those entries that have a link in that day's chain, by entry."""
