"""How an engine lets go of what is past its time: in portions, never what is held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol, runtime_checkable

from neo_polystore.errors import ConflictError
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query

HoldBy = Literal["data_type", "tenant", "key", "query"]
EVERYTHING: frozenset[HoldBy] = frozenset({"data_type", "tenant", "key", "query"})


class HoldsChangedError(ConflictError):
    """A hold was added after the portion was chosen: nothing of it was deleted, choose again."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is held of one data type: whatever satisfies any of the queries.

    `generation` rises with every hold that is added. A query without conditions holds all.
    `deadline` is until when new holds are kept out even if this process dies: what is asked of
    another server has to be over by then.
    """

    generation: int = 0
    queries: tuple[Query, ...] = ()
    deadline: datetime | None = None

    @property
    def everything(self) -> bool:
        """Whether nothing of the data type may go."""
        return Query() in self.queries


@dataclass(frozen=True, slots=True)
class Past:
    """What is past its time. `rows` may go, `held` may not; `oldest` is the oldest of both.

    `detail` says what a person should know: what stays although it is old, and why.
    """

    rows: int = 0
    held: int = 0
    oldest: datetime | None = None
    bytes: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Portion:
    """What goes at once: so many rows of these times. `token` is the engine's own.

    `after` continues behind the portion, whether it went or not.
    """

    name: str
    rows: int
    after: str
    since: datetime | None = None
    until: datetime | None = None
    token: Any = field(default=None, repr=False)


class Ages(Protocol):
    """The retention of one data type in one store.

    What is older than `before` goes; by which time, `measure` says. No method touches anything
    that is younger or held. All may be called again at any time, after whatever crash.
    """

    @property
    def mechanism(self) -> str:
        """How records go, and by which time their age counts, in a line."""

    @property
    def holds_by(self) -> frozenset[HoldBy]:
        """What a hold may name here. Where only part of a portion is held and the engine can
        only drop portions as a whole, the whole portion stays."""

    @property
    def archivable(self) -> bool:
        """Whether `read` gives the records of a portion."""

    @property
    def own_periods(self) -> bool:
        """Whether the engine is told elsewhere what is kept how long: `before` plays no part."""

    async def guarded(self) -> bool:
        """Whether `drop` asks for holds in the deleting transaction, where they are stored.

        If not, the caller keeps new holds out while `drop` runs.
        """

    async def past(self, before: datetime, held: Held) -> Past:
        """Count what is older than `before`; changes nothing."""

    async def portion(
        self, before: datetime, held: Held, *, after: str = "", limit: int = 1000
    ) -> Portion | None:
        """What goes next, the oldest first: at most `limit` rows where the engine can cut so."""

    def read(self, portion: Portion) -> AsyncIterator[Sequence[Record]]:
        """The records of a portion, to be archived."""

    async def drop(self, portion: Portion, held: Held) -> int:
        """Delete a portion, durably; how many rows went.

        What has changed since the portion was chosen stays, and so does what `held` holds.
        Raises HoldsChangedError (`guarded` engines), and UnavailableError where others hold
        locks for too long: nothing of the portion is gone then.
        """


@runtime_checkable
class Automatic(Protocol):
    """`Ages` of an engine that lets go of records by itself, too: a TTL, a policy of the server."""

    async def hold(self, *, held: bool) -> None:
        """There is a hold on the data type now, or none any more.

        With one the engine's own mechanism rests, and this returns when nothing that it began is
        under way.
        """


@runtime_checkable
class Retaining(Protocol):
    """A store that can let go of what is past its time."""

    def ages(self, data_type: str) -> Ages | None:
        """The retention of one data type, None where it never ages."""
