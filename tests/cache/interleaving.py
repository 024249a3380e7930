"""One run of readers and writers over the real cache, every step chosen by a seeded scheduler.

Each call to the cache and each visit to the primary waits at a gate. The scheduler opens one gate
at a time, so that a seed is one interleaving. Between the steps entries expire, the server
forgets its last steps (a restart that loses what its log had not got yet), processes lose the
server, and writers die. In half of the runs the processes keep copies of their own: then words of
a change are delivered one at a time as well, and are lost with the connection that carries them.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from functools import partial

from neo_polystore.ports.cache import Cache
from neo_polystore.stores.redis.client import RedisClient
from tests.cache.members import DiedError, Member, Primary
from tests.cache.stage import Stage


class Run:
    """A run with its own key; `stale` collects what must never be read."""

    def __init__(self, seed: int, cache: Cache, client: RedisClient):
        self.stale: list[str] = []
        self.events: dict[str, int] = {}
        chance = self._chance = random.Random(seed)
        self._stage = Stage(chance)
        self._client = client
        self._cache = cache
        self._primary = Primary(self._stage, chance.getrandbits(61))
        self._outbox: list[list[str]] = []
        self._near = chance.random() < 0.5
        self.members: list[Member] = []
        self.members += [self._member(near=self._near) for _ in range(2 if self._near else 3)]
        self._key = cache.place("networks", str(self._primary.key)).key
        self._name = client.keys.stored(self._key)
        self._least = [0] * len(self.members)
        self._saved: bytes | None = None
        self._next = 0

    def _member(self, *, near: bool) -> Member:
        return Member(
            self._stage, self._cache, self._primary, self._outbox, self.members, near=near
        )

    async def play(self) -> None:
        writers = self._chance.randrange(1, 3)
        actors = [asyncio.create_task(self._write()) for _ in range(writers)]
        readers = self._chance.randrange(2, 5)
        actors += [asyncio.create_task(self._read()) for _ in range(readers)]
        await self._stage.quiet()
        await self._until_done(actors, disturbing=True)
        for member in self.members:
            member.cut = False
        await self._relay()
        for member in self.members:
            member.doubted()
        while await self._stage.advance():
            pass
        for place, member in enumerate(self.members):  # everybody sees everything in the end
            last = asyncio.create_task(self._seen(place, member))
            await self._stage.quiet()
            await self._until_done([last])

    async def _until_done(
        self, tasks: list[asyncio.Task[None]], *, disturbing: bool = False
    ) -> None:
        while True:
            if await self._stage.advance():
                if disturbing and self._chance.random() < (0.1 if self._near else 0.25):
                    await self._disturb()
            elif all(task.done() for task in tasks):
                break
            else:
                await asyncio.sleep(0.0005)  # somebody waits for another one's load
        await asyncio.gather(*tasks)

    async def _read(self) -> None:
        place = self._chance.randrange(len(self.members))
        for _ in range(
            self._chance.randrange(3, 9) if self._near else self._chance.randrange(1, 3)
        ):
            if not self._near:
                place = self._chance.randrange(len(self.members))
            await self._seen(place, self.members[place])

    async def _seen(self, place: int, member: Member) -> None:
        least = self._least[place]
        seen = int((await member.port.get(str(self._primary.key))).name)
        if seen < least:
            self.stale.append(f"process {place} read {seen} after {least}")

    async def _write(self) -> None:
        place = self._chance.randrange(len(self.members))
        member = self.members[place]
        if self._near:  # not before there are copies
            for _ in range(self._chance.randrange(30)):
                await self._stage.step(_idle)
        self._next += 1
        name = f"by {self._next}"
        if self._chance.random() < (0.1 if self._near else 0.2):
            await self._die(name)
            return
        deferred = member.port.counts.deferred
        await member.port.write([self._primary.named(name)])
        version = self._primary.commits[name]
        self._holds(place, version)
        if not member.port.counts.uncertain and member.port.counts.deferred == deferred:
            self._tell(version)

    async def _die(self, name: str) -> None:
        """A process of its own, that ends between its commit and its invalidation."""
        killed = self._member(near=False)
        killed.dying = True
        epoch = self._stage.epoch
        self._note("killed")
        with suppress(DiedError):
            await killed.port.write([self._primary.named(name)])
        version = self._primary.commits[name]
        if self._stage.epoch == epoch:
            self._tell(version)

    def _holds(self, place: int, version: int) -> None:
        self._least[place] = max(self._least[place], version)

    def _tell(self, version: int) -> None:
        """From now on, or once they have heard of it, no process may read an older one."""
        for place, member in enumerate(self.members):
            member.learns(partial(self._holds, place, version))

    async def _disturb(self) -> None:
        match self._chance.randrange(8 if self._near else 5):
            case 0:
                self._note("expired")
                if await self._client.run("test", "TYPE", self._name) == b"string":
                    await self._client.run("test", "UNLINK", self._name)
                    self._told()
            case 1:
                self._saved = await self._client.run("test", "DUMP", self._name)
            case 2 if self._saved is not None:
                self._note("restarted")
                self._stage.epoch += 1
                await self._client.run(
                    "test", "RESTORE", self._name, 60_000, self._saved, "REPLACE"
                )
                for member in self.members:
                    member.reconnected()
            case 3:
                self._note("cut")
                member = self._chance.choice(self.members)
                member.cut = not member.cut
            case 5:
                self._note("tracking lost")
                self._chance.choice(self.members).reconnected()
            case 6:
                self._note("deaf")
                self._chance.choice(self.members).deafened()
            case 7:
                for member in self.members:
                    member.doubted()
            case _:
                await self._relay()

    async def _relay(self) -> None:
        while self._outbox:
            self._note("relayed")
            keys = self._outbox.pop(0)
            await self._cache.begin_change(keys, change=f"relay{self._chance.random()}")
            self._told()

    def _told(self) -> None:
        for member in self.members:
            member.told([self._key])

    def _note(self, event: str) -> None:
        self.events[event] = self.events.get(event, 0) + 1


async def _idle() -> None:
    pass
