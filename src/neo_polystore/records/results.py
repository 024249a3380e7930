"""What a write or a read answers: counts, rejected records with reasons, pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Self, TypeVar

R = TypeVar("R", covariant=True)

Consistency = Literal["committed", "queued"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record that was not stored. `index` is its place in the batch, counted from 0."""

    index: int
    field: str
    reason: str


@dataclass(slots=True)
class Written:
    """What happened to a batch: every record is counted exactly once.

    `new` were not there before, `existing` were there and are unchanged, `replaced` were there
    with another value. `consistency` is `committed` where the primary holds the batch durably
    and `queued` where the outbox holds it and delivery is pending.
    """

    new: int = 0
    existing: int = 0
    replaced: int = 0
    rejected: list[Rejection] = field(default_factory=list)
    consistency: Consistency = "committed"

    def __iadd__(self, other: Written) -> Self:
        """Add another batch's counts; indexes of its rejections stay as they are."""
        self.new += other.new
        self.existing += other.existing
        self.replaced += other.replaced
        self.rejected.extend(other.rejected)
        if other.consistency == "queued":
            self.consistency = "queued"
        return self


@dataclass(frozen=True, slots=True)
class Offenders:
    """Documents of a collection that break a validator which is about to hold.

    `first` are some of them, as `'key': path and rule`; `total` is None where nobody counted on.
    """

    collection: str
    total: int | None = 0
    first: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.first)

    def __str__(self) -> str:
        more = "at least " if self.total is None else ""
        count = len(self.first) if self.total is None else self.total
        return (
            f"{self.collection}: {more}{count} stored documents break the new validator"
            f' (mend them, or say `"existing": "may_break"` in the file): {"; ".join(self.first)}'
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some records in order, and the cursor that continues after them (None at the end)."""

    records: list[R]
    next: str | None = None

    def __iter__(self) -> Any:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)
