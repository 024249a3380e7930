"""What the cache's scripts are told of many calls, and what their answers say to each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from neo_polystore.ports.cache import Look
from neo_polystore.stores.redis.wire import Told

TAG_SECONDS = 86_400

PLAIN = (0, 0, b"")
ONLY_VERSION = -1


class Wish(NamedTuple):
    """A reader's key and tags; `rest` is how many tags, the age of versions, what is useless."""

    keys: tuple[str, ...]
    rest: tuple[int, int, bytes]
    deadline: float | None


class Fill(NamedTuple):
    """A value, in the place of a lease or of a value that begins with `seen`."""

    key: str
    lease: str
    seen: bytes
    value: bytes
    milliseconds: int
    deadline: float | None


class Change(NamedTuple):
    """A change of keys of one slot: for that many milliseconds, or 0 where it ends."""

    keys: list[str]
    change: str
    milliseconds: int
    deadline: float | None


def told_of_looks(wishes: Sequence[Wish], *common: int | str) -> Told:
    """What `LOOK` is told; `common` are its first four arguments."""
    if all(wish.rest is PLAIN for wish in wishes):
        return Told([wish.keys[0] for wish in wishes], common)
    keys: list[str] = []
    arguments: list[Any] = [*common]
    for wish in wishes:
        keys += wish.keys
        arguments += wish.rest
    return Told(keys, arguments)


def told_of_fills(fills: Sequence[Fill]) -> Told:
    """What `FILL` is told."""
    return Told([fill.key for fill in fills], [part for fill in fills for part in fill[1:-1]])


def filled_of(fills: Sequence[Fill], answers: Sequence[int]) -> list[bool]:
    """Which of them were accepted."""
    return list(map(bool, answers))


def looks_of(wishes: Sequence[Wish], answers: Sequence[Any]) -> list[Look]:
    """What each reader has found."""
    return [Look(answer) if type(answer) is bytes else _look(answer) for answer in answers]


def _look(answer: Sequence[Any]) -> Look:
    value, lease, wait, *versions = answer
    return Look(value, lease.decode(), bool(wait), tuple([found.decode() for found in versions]))


def told_of_changes(changes: Sequence[Change]) -> Told:
    """What `CHANGE` is told; what many tell of the same tag is told once."""
    told = _once(changes)
    arguments: list[Any] = [part for _, *rest in told for part in rest]
    return Told([key for key, *_ in told], arguments)


def held_of(changes: Sequence[Change], answers: Sequence[int]) -> list[bool]:
    """For each change, whether there was anything under one of its keys."""
    held = {key for (key, *_), answer in zip(_once(changes), answers, strict=True) if answer}
    return [not held.isdisjoint(change.keys) for change in changes]


def _once(changes: Sequence[Change]) -> dict[tuple[str, str, int], None]:
    return dict.fromkeys(
        (key, change.change, change.milliseconds) for change in changes for key in change.keys
    )


def earliest(calls: Sequence[Wish | Fill | Change]) -> float | None:
    """The first deadline of them: who came first waits the longest."""
    return min([call.deadline for call in calls if call.deadline is not None], default=None)
