"""What both document engines do first with a batch: check it, and know where each one stood."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from neo_polystore.records.collections import Collection
from neo_polystore.records.results import Rejection
from neo_polystore.records.rules import ID
from neo_polystore.records.validators import check


class _HasBody(Protocol):
    def body(self) -> dict[str, Any]: ...


D = TypeVar("D", bound=_HasBody)


@dataclass(frozen=True, slots=True)
class Checked(Generic[D]):
    """The good documents of a batch, and by key where each stood in it and its content."""

    good: list[D]
    places: dict[str, int]
    bodies: dict[str, dict[str, Any]]
    rejected: list[Rejection]


def checked(collection: Collection, records: Sequence[D]) -> Checked[D]:
    """Check a batch; of what is bad, the first problem of each. The last of a key stands."""
    found: Checked[D] = Checked([], {}, {}, [])
    for index, record in enumerate(records):
        body = record.body()
        if problems := check(collection, body):
            found.rejected.append(Rejection(index, problems[0].field, problems[0].reason))
        else:
            found.good.append(record)
            found.places[body[ID]] = index
            found.bodies[body[ID]] = body
    return found
