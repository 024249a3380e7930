"""One run of readers and writers over the real cache, every step chosen by a seeded scheduler.

Each call to the cache and each visit to the primary waits at a gate. The scheduler opens one gate
at a time, so that a seed is one interleaving. Between the steps entries expire, the server
forgets its last steps (a restart that loses what its log had not got yet), processes lose the
server, and writers die.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from neo_polystore.errors import UnavailableError
from neo_polystore.ports.cache import Cache, Look
from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.stores.redis.client import RedisClient
from neo_polystore.wrappers.cached import cached

SPINS = 12
"""Turns of the event loop in which everybody reaches his next gate."""


class DiedError(BaseException):
    """This writer was killed."""


class Stage:
    """Gates in the order in which they were reached."""

    def __init__(self, chance: random.Random):
        self.chance = chance
        self._gates: list[asyncio.Future[None]] = []
        self._busy = 0
        self.epoch = 0

    async def step(self, work: Callable[[], Awaitable[Any]]) -> Any:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gates.append(gate)
        await gate
        self._busy += 1
        try:
            return await work()
        finally:
            self._busy -= 1

    async def advance(self) -> bool:
        """Open one gate, and wait until its work is done; False where nobody stands at one."""
        self._gates = [gate for gate in self._gates if not gate.done()]
        if not self._gates:
            return False
        self._gates.pop(self.chance.randrange(len(self._gates))).set_result(None)
        await self.quiet()
        return True

    async def quiet(self) -> None:
        spins = 0
        while self._busy or spins < SPINS:
            await asyncio.sleep(0)
            spins = 0 if self._busy else spins + 1


class Member:
    """One process: its own view of the cache, which it may lose."""

    def __init__(self, stage: Stage, cache: Cache, primary: Primary, outbox: list[list[str]]):
        self.stage = stage
        self.cut = False
        self.dying = False
        self.epoch = "0"
        self._cache = cache

        async def later(keys: list[str]) -> None:
            outbox.append(keys)

        self.port = cached("networks", primary, cast(Cache, self), budget=3600, later=later)
        self.port._reading.guard._pause = 0.0

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        async def asked() -> Any:
            if self.cut:
                raise UnavailableError("cut off")
            self.epoch = str(self.stage.epoch)  # a new connection asks before anything else
            return await work()

        return await self.stage.step(asked)

    def place(self, *args: Any, **options: Any) -> Any:
        return self._cache.place(*args, **options)

    def in_family(self, *args: Any) -> Any:
        return self._cache.in_family(*args)

    async def look(self, key: str, **options: Any) -> Look:
        return cast(Look, await self._ask(lambda: self._cache.look(key, **options)))

    async def fill(self, key: str, value: bytes, **options: Any) -> bool:
        return bool(await self._ask(lambda: self._cache.fill(key, value, **options)))

    async def renew(self, key: str, value: bytes, **options: Any) -> bool:
        return bool(await self._ask(lambda: self._cache.renew(key, value, **options)))

    async def begin_change(self, keys: Sequence[str], *, change: str) -> None:
        await self._ask(lambda: self._cache.begin_change(keys, change=change))

    async def invalidate(self, keys: Sequence[str], *, change: str = "") -> None:
        if self.dying:
            raise DiedError
        await self._ask(lambda: self._cache.invalidate(keys, change=change))


class Primary:
    """One record, whose name is the number of its version; `commits` says whose that was."""

    def __init__(self, stage: Stage, key: int):
        self.record = Network
        self.key = key
        self.version = 0
        self.commits: dict[str, int] = {}
        self._stage = stage

    def within(self, scope: object) -> Primary:
        return self

    async def get(self, key: str) -> Network:
        async def read() -> int:
            return self.version

        return self.named(str(await self._stage.step(read)))

    async def write(self, records: Sequence[Network]) -> Written:
        async def commit() -> None:
            self.version += 1
            self.commits[records[0].name] = self.version

        await self._stage.step(commit)
        return Written(replaced=1)

    def named(self, name: str) -> Network:
        return Network(chain_id=self.key, name=name, rpc_endpoint="http://localhost")


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
        self._members = [Member(self._stage, cache, self._primary, self._outbox) for _ in range(3)]
        self._name = client.keys.stored(cache.place("networks", str(self._primary.key)).key)
        self._least = [0] * len(self._members)
        self._saved: bytes | None = None
        self._next = 0

    async def play(self) -> None:
        writers = self._chance.randrange(1, 3)
        actors = [asyncio.create_task(self._write()) for _ in range(writers)]
        actors += [asyncio.create_task(self._read()) for _ in range(self._chance.randrange(2, 5))]
        await self._stage.quiet()
        await self._until_done(actors, disturbing=True)
        for member in self._members:
            member.cut = False
        await self._relay()
        for place, member in enumerate(self._members):  # everybody sees everything in the end
            last = asyncio.create_task(self._seen(place, member))
            await self._stage.quiet()
            await self._until_done([last])

    async def _until_done(
        self, tasks: list[asyncio.Task[None]], *, disturbing: bool = False
    ) -> None:
        while True:
            if await self._stage.advance():
                if disturbing and self._chance.random() < 0.25:
                    await self._disturb()
            elif all(task.done() for task in tasks):
                break
            else:
                await asyncio.sleep(0.0005)  # somebody waits for another one's load
        await asyncio.gather(*tasks)

    async def _read(self) -> None:
        for _ in range(self._chance.randrange(1, 3)):
            place = self._chance.randrange(len(self._members))
            await self._seen(place, self._members[place])

    async def _seen(self, place: int, member: Member) -> None:
        least = self._least[place]
        seen = int((await member.port.get(str(self._primary.key))).name)
        if seen < least:
            self.stale.append(f"process {place} read {seen} after {least}")

    async def _write(self) -> None:
        place = self._chance.randrange(len(self._members))
        member = self._members[place]
        self._next += 1
        name = f"by {self._next}"
        if self._chance.random() < 0.2:
            await self._die(name)
            return
        deferred = member.port.counts.deferred
        await member.port.write([self._primary.named(name)])
        version = self._primary.commits[name]
        self._least[place] = max(self._least[place], version)
        if not member.port.counts.uncertain and member.port.counts.deferred == deferred:
            self._least = [max(least, version) for least in self._least]

    async def _die(self, name: str) -> None:
        """A process of its own, that ends between its commit and its invalidation."""
        killed = Member(self._stage, self._cache, self._primary, self._outbox)
        killed.dying = True
        epoch = self._stage.epoch
        self._note("killed")
        with suppress(DiedError):
            await killed.port.write([self._primary.named(name)])
        version = self._primary.commits[name]
        if self._stage.epoch == epoch:
            self._least = [max(least, version) for least in self._least]

    async def _disturb(self) -> None:
        match self._chance.randrange(5):
            case 0:
                self._note("expired")
                if await self._client.run("test", "TYPE", self._name) == b"string":
                    await self._client.run("test", "UNLINK", self._name)
            case 1:
                self._saved = await self._client.run("test", "DUMP", self._name)
            case 2 if self._saved is not None:
                self._note("restarted")
                self._stage.epoch += 1
                await self._client.run(
                    "test", "RESTORE", self._name, 60_000, self._saved, "REPLACE"
                )
            case 3:
                self._note("cut")
                member = self._chance.choice(self._members)
                member.cut = not member.cut
            case _:
                await self._relay()

    async def _relay(self) -> None:
        while self._outbox:
            self._note("relayed")
            keys = self._outbox.pop(0)
            await self._cache.begin_change(keys, change=f"relay{self._chance.random()}")

    def _note(self, event: str) -> None:
        self.events[event] = self.events.get(event, 0) + 1
