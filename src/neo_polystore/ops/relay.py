"""The relay: takes messages from the outbox to their sinks, at least once, each key in order.

Per topic one relay at a time across all processes, by a lease with a fencing token. A topic's
messages go out in the order of their ids, batch after batch, and the checkpoint follows what the
sink has acknowledged. A relay that is killed repeats its last batch in the next one, after its
lease has ended; until then nobody else delivers, so that a call of the dead one that is still on
its way to the sink is not overtaken by newer messages of its key. What no lease can prevent is a
process that is frozen in the middle of a call for longer than its lease, and then goes on: a sink
that minds can compare `Message.id`, which rises within a key.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from functools import partial

from pydantic import BaseModel, ConfigDict

from neo_polystore.errors import PolystoreError
from neo_polystore.ops.delivery import BlockedError, Delivery, TopicCounts
from neo_polystore.ops.lease import LeaseLostError, keeping
from neo_polystore.ops.sinks import SinkFor
from neo_polystore.ports.outbox import Claim, Feed
from neo_polystore.tracing import span

_log = logging.getLogger(__name__)


class RelayOptions(BaseModel):
    """Seconds, messages and bytes. Memory is bounded by `batch_bytes` per topic."""

    model_config = ConfigDict(frozen=True)

    poll: float = 0.25
    lease: float = 10.0
    batch: int = 500
    batch_bytes: int = 4 << 20
    deliver_timeout: float = 60.0
    max_attempts: int = 5
    first_pause: float = 0.1
    longest_pause: float = 30.0
    grace: float = 10.0


class Relay:
    """Delivers until it is stopped. `holder` names this process to the others and to people.

    `sink_for` answers where a topic goes, or None: then its messages wait for a relay that knows.
    `counts` says per topic what happened in this process.
    """

    def __init__(
        self, feed: Feed, sink_for: SinkFor, *, holder: str, options: RelayOptions | None = None
    ):
        self.counts: dict[str, TopicCounts] = defaultdict(TopicCounts)
        self._feed = feed
        self._sink_for = sink_for
        self._holder = holder
        self._options = options or RelayOptions()
        self._stopping = asyncio.Event()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._resting: dict[str, float] = {}
        self._trouble: str | None = None

    async def run_forever(self, stop: asyncio.Event) -> None:
        """Deliver what comes until `stop` is set; then end the batches that are under way.

        After `grace` seconds they are cancelled, and come again. An unavailable outbox is tried
        again and again. Leaves no lease behind, so that another relay can go on at once.
        """
        self._stopping.clear()
        try:
            while not stop.is_set():
                await self._start_work()
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._options.poll)
        finally:
            await self._end()

    async def drain(self) -> None:
        """Deliver what is waiting now and can be delivered, then return."""
        self._stopping.clear()
        try:
            while await self._start_work():
                await asyncio.wait(self._working.values(), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end()

    async def _start_work(self) -> bool:
        """Begin the topics that have messages; whether any is at work."""
        now = asyncio.get_running_loop().time()
        topics = []
        try:
            topics = await self._feed.topics()
            self._trouble = None
        except PolystoreError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("the outbox cannot be read: %s", error)
        for topic in topics:
            if topic not in self._working and self._resting.get(topic, now) <= now:
                task = asyncio.create_task(self._work(topic), name=f"relay {topic}")
                self._working[topic] = task
                task.add_done_callback(partial(self._worked, topic))
        return bool(self._working)

    def _worked(self, topic: str, _: asyncio.Task[None]) -> None:
        del self._working[topic]

    async def _end(self) -> None:
        self._stopping.set()
        tasks = list(self._working.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self._options.grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, topic: str) -> None:
        """One topic, from claim to release; whatever goes wrong rests this topic alone."""
        counts = self.counts[topic]
        try:
            await self._claimed(topic)
        except (BlockedError, PolystoreError) as error:
            counts.failures += 1
            counts.failed += 1
            counts.blocked = str(error)
            pause = self._pause(counts.failures)
            self._resting[topic] = asyncio.get_running_loop().time() + pause
            if counts.failures & (counts.failures - 1) == 0:  # once, twice, four times ...
                _log.warning("relay %s: failed %d times: %s", topic, counts.failures, error)

    def _well(self, topic: str) -> None:
        """Forget a topic's trouble: a batch got through, or there is nothing to deliver here."""
        counts = self.counts[topic]
        counts.failures = 0
        counts.blocked = None
        self._resting.pop(topic, None)

    async def _claimed(self, topic: str) -> None:
        sink = self._sink_for(topic)
        if sink is None:
            raise BlockedError(f"there is no sink for topic {topic!r}")
        lease = self._options.lease
        asked = asyncio.get_running_loop().time()
        claim = await self._feed.claim(topic, holder=self._holder, seconds=lease)
        if claim is None:
            self._well(topic)
            return
        try:
            async with keeping(lambda: self._feed.renew(claim), seconds=lease, since=asked):
                delivery = Delivery(self._feed, sink, claim, self._options, self.counts[topic])
                await self._deliver_all(delivery, claim)
        except LeaseLostError:
            self.counts[topic].leases_lost += 1
            raise
        finally:
            with suppress(PolystoreError):
                await self._feed.release(claim)

    async def _deliver_all(self, delivery: Delivery, claim: Claim) -> None:
        options = self._options
        while not self._stopping.is_set():
            batch = await self._feed.read(
                claim.topic,
                after=delivery.position,
                limit=options.batch,
                limit_bytes=options.batch_bytes,
            )
            if batch:
                with span(f"deliver {claim.topic}", messages=len(batch)):
                    await delivery.deliver(batch)
            self._well(claim.topic)
            if not batch:
                return

    def _pause(self, failures: int) -> float:
        longest = self._options.longest_pause
        return min(self._options.first_pause * 2.0 ** min(failures - 1, 30), longest)
