"""What a reader asks a cache for, and what he may have found of it so far."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from neo_polystore.ports.cache import Look, Place
from neo_polystore.records.base import Record

R = TypeVar("R", bound=Record)


@dataclass(slots=True)
class Wanted(Generic[R]):
    """What a reader asks for. `load` reads the primary (None: no such record); `cacheable` says
    whether an invalidation will find what was loaded; an invalidation of any of the `tags` (keys
    of the cache) ends the entry as well. `settled`: see `Cache.look`."""

    place: Place
    owner: str
    model: type[R]
    load: Callable[[], Awaitable[R | None]]
    cacheable: Callable[[R | None], bool]
    tags: tuple[str, ...] = ()
    settled: float = 0.0

    @property
    def slot(self) -> tuple[str, str]:
        """What tells it from everything else that is wanted."""
        return self.place.key, self.owner

    def owned(self, versions: tuple[str, ...]) -> str:
        """For whom an entry is, and under which versions of its tags."""
        return f"{self.owner} {' '.join(versions)}" if versions else self.owner


class Seen(NamedTuple):
    """What a look has found, and the cache's epoch of before it."""

    found: Look
    epoch: str
