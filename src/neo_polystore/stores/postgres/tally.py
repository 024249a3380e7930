"""Counts what became of the records of a batch; the last record of a key stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from neo_polystore.records.base import Record
from neo_polystore.records.results import Rejection, Written
from neo_polystore.stores.postgres.merge_spec import Merge, Refusal

STORED = ("new", "existing", "replaced")


class Tally:
    """Places in a batch: which of them are to be stored next, and what came of the others."""

    def __init__(self, spec: Merge[Any], records: Sequence[Record]):
        self._spec = spec
        self._records = records
        self._counts: Counter[str] = Counter()
        self._rejected: list[Rejection] = []
        last = {record.key: place for place, record in enumerate(records)}
        self._standing = list(last.values())
        self._earlier: dict[str, list[int]] = {}
        if len(last) < len(records):
            for place, record in enumerate(records):
                if last[record.key] != place:
                    self._earlier.setdefault(record.key, []).append(place)

    def is_plain(self) -> bool:
        """Whether every key is there once."""
        return not self._earlier

    def standing(self) -> list[int]:
        """The last place of every key that is not settled; each call gives them once."""
        standing, self._standing = self._standing, []
        return standing

    def settle(self, outcomes: Mapping[int, str | Refusal]) -> None:
        """Count outcomes; where a key's last record was refused the one before it stands."""
        counts = Counter(outcomes.values())
        stored = {outcome: counts.pop(outcome, 0) for outcome in STORED}
        self._counts.update(stored)
        if counts:
            for place, outcome in outcomes.items():
                if outcome not in STORED:
                    self._refuse(place, outcome)
        if self._earlier:
            for place, outcome in outcomes.items():
                if outcome in STORED:
                    self._overtake(place)

    def _refuse(self, place: int, outcome: str | Refusal) -> None:
        why = self._spec.refusal(outcome) if isinstance(outcome, str) else outcome
        self._rejected.append(Rejection(place, why.field, why.reason))
        earlier = self._earlier.get(self._records[place].key)
        if earlier:
            self._standing.append(earlier.pop())

    def _overtake(self, place: int) -> None:
        record = self._records[place]
        for earlier in self._earlier.pop(record.key, ()):
            self._counts["existing" if self._records[earlier] == record else "replaced"] += 1

    def written(self) -> Written:
        """The answer for the whole batch."""
        self._rejected.sort(key=lambda rejection: rejection.index)
        new, existing, replaced = (self._counts[outcome] for outcome in STORED)
        return Written(new, existing, replaced, self._rejected)
