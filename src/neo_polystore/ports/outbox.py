"""The outbox: messages that are durable with the work they tell of, and delivered afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from neo_polystore.ids import uuid7
from neo_polystore.records.scope import NOBODY, Scope


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to publish. `topic` is the data type it is for; order is kept per topic and key.

    `idempotency_key` travels with the message through every redelivery and replay.
    """

    topic: str
    key: str
    payload: Any
    idempotency_key: str = field(default_factory=lambda: str(uuid7()))


@dataclass(frozen=True, slots=True)
class Message:
    """A published message. Ids rise with every message of a key, so a sink that keeps the last
    id per key can tell a late repetition from news."""

    id: int
    topic: str
    key: str
    payload: Any
    idempotency_key: str
    scope: Scope
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that its sink will never take, and why; after how many attempts, since when."""

    message: Message
    reason: str
    attempts: int = 1
    first_failed: datetime | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """One relay's exclusive right to a topic. `token` rises with every claim: a claim whose token
    is not the last one can change nothing. `position` is where the topic stands: every message
    up to it is delivered or dead."""

    topic: str
    holder: str
    token: int
    seconds: float
    position: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, kept until somebody replays or discards it.

    Afterwards it stays for the record, until it is pruned. `replayed_as` is the id of the message
    that a replay published, `discard_reason` what was said when it was discarded.
    """

    id: int
    message: Message
    reason: str
    attempts: int
    first_failed: datetime
    last_failed: datetime
    replayed_at: datetime | None = None
    replayed_as: int | None = None
    discarded_at: datetime | None = None
    discard_reason: str | None = None


@dataclass(frozen=True, slots=True)
class TopicStatus:
    """How a topic stands. `depth` counts what waits, `lag` is the age of its oldest in seconds;
    `dead` counts dead letters that nobody has replayed or discarded."""

    topic: str
    position: int
    depth: int
    lag: float
    delivered: int
    dead: int
    holder: str | None


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """All topics. Nothing above `horizon` is delivered yet; it stands `held` ids below the last
    one because the server process `held_by` is publishing in a transaction that it has not ended.
    """

    horizon: int
    held: int
    held_by: int | None
    topics: tuple[TopicStatus, ...]


class Outbox(Protocol):
    """The writer's side; acts as the application."""

    async def publish(self, drafts: Sequence[Draft], scope: Scope = NOBODY) -> list[int]:
        """Make messages durable in a transaction of their own; their ids, in order.

        Raises UnavailableError where that cannot be done, ValidationError for a payload that is
        no JSON.
        """

    async def waiting(self, topic: str, keys: Sequence[str]) -> bool:
        """Whether a message of any of these keys may be waiting for delivery."""


class Feed(Protocol):
    """The relay's side; sees every tenant's messages."""

    async def topics(self) -> list[str]:
        """The topics that have messages to deliver and that nobody has claimed."""

    async def claim(self, topic: str, *, holder: str, seconds: float) -> Claim | None:
        """Claim a topic for so long; None where somebody else has."""

    async def renew(self, claim: Claim) -> bool:
        """Have the claim for its seconds from now; False where it has been lost."""

    async def release(self, claim: Claim) -> None:
        """Give the claim up, so that another may have the topic at once."""

    async def read(self, topic: str, *, after: int, limit: int, limit_bytes: int) -> list[Message]:
        """The next messages of a topic in the order of their ids, none skipped.

        At most `limit`, and at most `limit_bytes` of payload unless the first alone is larger.
        """

    async def advance(
        self, claim: Claim, *, position: int, delivered: int, dead: Sequence[Refused] = ()
    ) -> bool:
        """Record that everything up to `position` is delivered, or dead and kept as dead letters.

        One transaction; holds the claim for its seconds from now. False, and nothing is changed,
        where the claim has been lost.
        """


class OutboxAdmin(Protocol):
    """The operator's side; sees every tenant's messages."""

    async def status(self) -> OutboxStatus:
        """Every topic that has messages or had some."""

    async def dead_letters(
        self,
        *,
        topic: str | None = None,
        ids: Sequence[int] | None = None,
        settled: bool = False,
        after: int = 0,
        limit: int = 100,
    ) -> list[DeadLetter]:
        """Dead letters with ids above `after`, oldest first.

        Those that are `settled` (replayed or discarded) only when asked for.
        """

    async def replay(self, ids: Sequence[int] | None = None) -> int:
        """Publish dead letters again, each for its own tenant; None: all of them. How many.

        A replayed message stands behind everything published under its key so far. It keeps its
        idempotency key. What was replayed or discarded already is not replayed again.
        """

    async def discard(self, ids: Sequence[int], *, reason: str) -> int:
        """Give dead letters up for good, and say why; how many.

        What was replayed or discarded already stays as it is.
        """


class Sink(Protocol):
    """Where messages of a topic go."""

    async def deliver(self, messages: Sequence[Message]) -> Sequence[Refused]:
        """Make the messages' effect durable, in this order; answer those that never will have one.

        Returning acknowledges all others. The same messages may come again, whatever was
        returned, so their effect must be idempotent. UnavailableError means: later. Any other
        error refuses the whole batch; it then comes again in halves.
        """


@runtime_checkable
class Deferring(Protocol):
    """A port that may answer `queued`; `direct` is the port that answers `committed` or fails."""

    @property
    def direct(self) -> Any:
        """The port behind it, for whoever delivers what was queued."""
