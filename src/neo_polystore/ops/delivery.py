"""One topic's delivery: a batch to the sink, then the checkpoint; the poisonous ones set apart."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from neo_polystore.errors import (
    ConfigError,
    CorruptDataError,
    TenantRequiredError,
    UnavailableError,
    UnsupportedError,
    UsageError,
    ValidationError,
)
from neo_polystore.ops.lease import LeaseLostError
from neo_polystore.ports.outbox import Claim, Feed, Message, Refused, Sink

if TYPE_CHECKING:
    from neo_polystore.ops.relay import RelayOptions

_LATER = (UnavailableError, ConfigError, TimeoutError, OSError)
"""Not the message's fault: a missing table, a right or a server concerns all of the topic."""

_NEVER = (
    ValidationError,
    UsageError,
    UnsupportedError,
    TenantRequiredError,
    CorruptDataError,
)
"""No repetition will help. Anything else is given some attempts."""


class BlockedError(Exception):
    """A topic cannot go on for now."""


@dataclass(slots=True)
class TopicCounts:
    """What happened to a topic in this process since its start.

    `failures` counts in a row, `failed` all of them, `blocked` is the reason of the last one;
    `lag` is how old the last message was, in seconds, when its sink had acknowledged it.
    `attempts` is how often the message `suspect` has failed since `suspected`.
    """

    delivered: int = 0
    dead: int = 0
    batches: int = 0
    failures: int = 0
    failed: int = 0
    leases_lost: int = 0
    lag: float = 0.0
    blocked: str | None = None
    suspect: int = 0
    attempts: int = 0
    suspected: datetime | None = None


class Delivery:
    """Delivers batches of one claimed topic; `position` follows what was acknowledged."""

    def __init__(
        self, feed: Feed, sink: Sink, claim: Claim, options: RelayOptions, counts: TopicCounts
    ):
        self.position = claim.position
        self._feed = feed
        self._sink = sink
        self._claim = claim
        self._options = options
        self._counts = counts

    async def deliver(self, batch: Sequence[Message]) -> None:
        """Have all of a batch delivered or buried, in order, and the checkpoint behind it.

        Raises BlockedError where that has to wait; what was acknowledged before stays so.
        """
        try:
            async with asyncio.timeout(self._options.deliver_timeout):
                refused = await self._sink.deliver(batch)
        except _LATER as error:
            raise BlockedError(f"{type(error).__name__}: {error}") from error
        except Exception as error:  # a sink is anybody's code
            if len(batch) > 1:
                middle = len(batch) // 2
                await self.deliver(batch[:middle])
                await self.deliver(batch[middle:])
                return
            refused = [self._judge(batch[0], error)]
        await self._advance(batch, refused)

    def _judge(self, message: Message, error: Exception) -> Refused:
        """The message as poison; BlockedError while it deserves another attempt."""
        counts = self._counts
        if counts.suspect != message.id:
            counts.suspect, counts.attempts = message.id, 0
            counts.suspected = datetime.now(UTC)
        counts.attempts += 1
        reason = f"{type(error).__name__}: {error}"
        if not isinstance(error, _NEVER) and counts.attempts < self._options.max_attempts:
            raise BlockedError(f"message {message.id}: {reason}") from error
        return Refused(message, reason, counts.attempts, counts.suspected)

    async def _advance(self, batch: Sequence[Message], refused: Sequence[Refused]) -> None:
        last = batch[-1]
        delivered = len(batch) - len(refused)
        if not await self._feed.advance(
            self._claim,
            position=last.id,
            delivered=delivered,
            dead=[replace(item, reason=item.reason.replace("\0", "")[:10_000]) for item in refused],
        ):
            raise LeaseLostError(f"another relay has taken topic {last.topic!r} over")
        self.position = last.id
        self._counts.delivered += delivered
        self._counts.dead += len(refused)
        self._counts.batches += 1
        self._counts.lag = (datetime.now(UTC) - last.created_at).total_seconds()
