"""The processes of an interleaving, what they read and write through, and the primary."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from neo_polystore.errors import UnavailableError
from neo_polystore.ports.cache import Cache, Listener, Look
from neo_polystore.records.networks import Network
from neo_polystore.records.results import Written
from neo_polystore.wrappers.cached.data_types import NearSize, cached
from tests.cache.stage import Stage


class DiedError(BaseException):
    """This writer was killed."""


@dataclass(frozen=True, slots=True)
class Word:
    """What the server sends to one who follows."""

    listener: Listener
    keys: Sequence[str]

    def __call__(self) -> None:
        self.listener.evict(self.keys)


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


class Member:
    """One process: its own view of the cache, which it may lose, and where it keeps copies, a
    tracking connection, which it may lose too, at once or without noticing for a while."""

    def __init__(
        self,
        stage: Stage,
        cache: Cache,
        primary: Primary,
        outbox: list[list[str]],
        peers: list[Member],
        *,
        near: bool,
    ):
        self.stage = stage
        self.cut = False
        self.dying = False
        self.deaf = False
        self._epoch = "0"
        self.inbox: deque[Callable[[], None]] = deque()
        self._cache = cache
        self._peers = peers
        self._listener: Listener | None = None
        self._unheard: list[Callable[[], None]] = []
        stage.inboxes.append(self.inbox)

        async def later(keys: list[str]) -> None:
            outbox.append(keys)

        self.port = cached(
            "networks", primary, cast(Cache, self), budget=3600, later=later,
            near=NearSize() if near else None,
        )  # fmt: skip
        self.port._reading.guard._pause = 0.0

    def follow(self, data_type: str, listener: Listener) -> None:
        self._listener = listener
        listener.alive(math.inf)

    def told(self, keys: Sequence[str]) -> None:
        """The server sends word of a change to whoever follows."""
        listener = self._listener
        if listener is not None and not self.deaf:
            self.inbox.append(Word(listener, keys))

    def learns(self, fact: Callable[[], None]) -> None:
        """The fact holds for this process once it has been told all that was sent before."""
        if self._listener is None:
            fact()
        elif self.deaf:
            self._unheard.append(fact)
        else:
            self.inbox.append(fact)

    def deafened(self) -> None:
        """The tracking connection has died, and nobody has noticed."""
        if self._listener is not None:
            self.deaf = True
            self._unheard += [each for each in self.inbox if not isinstance(each, Word)]
            self.inbox.clear()

    def doubted(self) -> None:
        """A second without a heartbeat has passed: what was not heard of holds all the same."""
        if self._listener is not None and self.deaf:
            self._listener.alive(-math.inf)
            self._arrive()

    def reconnected(self) -> None:
        """The tracking connection was lost, and is there again."""
        if self._listener is not None:
            self._listener.lost()
            self._arrive()
            self.deaf = False
            self._listener.alive(math.inf)

    def _arrive(self) -> None:
        facts = [*self._unheard, *(each for each in self.inbox if not isinstance(each, Word))]
        self._unheard = []
        self.inbox.clear()
        for fact in facts:
            fact()

    async def _ask(self, work: Callable[[], Awaitable[Any]], changed: Sequence[str] = ()) -> Any:
        async def asked() -> Any:
            if self.cut:
                raise UnavailableError("cut off")
            self._epoch = str(self.stage.epoch)  # a new connection asks before anything else
            answer = await work()
            if changed:
                for peer in self._peers:
                    peer.told(changed)
            return answer

        async def arrived() -> None:
            pass

        answer = await self.stage.step(asked)
        if self._listener is not None:  # its answer and the server's word are on different ways
            await self.stage.step(arrived)
        return answer

    def place(self, *args: Any, **options: Any) -> Any:
        return self._cache.place(*args, **options)

    def epoch(self, key: str) -> str:
        return self._epoch

    def in_family(self, *args: Any) -> Any:
        return self._cache.in_family(*args)

    async def look(self, key: str, **options: Any) -> Look:
        return cast(Look, await self._ask(lambda: self._cache.look(key, **options)))

    async def fill(self, key: str, value: bytes, **options: Any) -> bool:
        return bool(await self._ask(lambda: self._cache.fill(key, value, **options), [key]))

    async def renew(self, key: str, value: bytes, **options: Any) -> bool:
        return bool(await self._ask(lambda: self._cache.renew(key, value, **options), [key]))

    async def begin_change(self, keys: Sequence[str], **options: Any) -> None:
        await self._ask(lambda: self._cache.begin_change(keys, **options), keys)

    async def invalidate(self, keys: Sequence[str], **options: Any) -> bool:
        if self.dying:
            raise DiedError
        return bool(await self._ask(lambda: self._cache.invalidate(keys, **options), keys))
