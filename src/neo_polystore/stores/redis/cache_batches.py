"""What the cache's scripts are told of many calls, and what their answers say to each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from neo_polystore.ports.cache import Look

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
    slot: Hashable
    deadline: float | None


def told_of_looks(wishes: Sequence[Wish]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of `LOOK`, without its first four."""
    if all(wish.rest is PLAIN for wish in wishes):
        return [wish.keys[0] for wish in wishes], []
    keys: list[str] = []
    arguments: list[Any] = []
    for wish in wishes:
        keys += wish.keys
        arguments += wish.rest
    return keys, arguments


def looks_of(answers: Sequence[Any]) -> list[Look]:
    """What each reader has found."""
    return [Look(answer) if type(answer) is bytes else _look(answer) for answer in answers]


def _look(answer: Sequence[Any]) -> Look:
    value, lease, wait, *versions = answer
    return Look(value, lease.decode(), bool(wait), tuple([found.decode() for found in versions]))


def told_of_changes(changes: Sequence[Change]) -> tuple[list[str], list[Any]]:
    """Keys and arguments of `CHANGE`; what many tell of the same tag is told once."""
    told = dict.fromkeys(
        (key, change.change, change.milliseconds) for change in changes for key in change.keys
    )
    return [key for key, *_ in told], [part for _, *rest in told for part in rest]


def held_of(changes: Sequence[Change], keys: Sequence[str], answers: Sequence[int]) -> list[bool]:
    """For each change, whether there was anything under one of its keys."""
    held = {key for key, answer in zip(keys, answers, strict=True) if answer}
    return [not held.isdisjoint(change.keys) for change in changes]


def earliest(calls: Sequence[Wish | Fill | Change]) -> float | None:
    """The first deadline of them: who came first waits the longest."""
    return min([call.deadline for call in calls if call.deadline is not None], default=None)
