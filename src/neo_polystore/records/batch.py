"""What every engine does first with a batch: one record per key, the others counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from neo_polystore.records.base import Record
from neo_polystore.records.results import Written

R = TypeVar("R", bound=Record)


def last_by_key(records: Sequence[R]) -> tuple[dict[str, R], Written]:
    """The last record of every key, and a count of the earlier ones.

    An earlier record counts as `existing` where it equals the last of its key and as `replaced`
    where it does not; see `ports.records.Records.write`.
    """
    last = {record.key: record for record in records}
    written = Written()
    if len(last) < len(records):
        for record in records:
            standing = last[record.key]
            if record is not standing and record != standing:
                written.replaced += 1
            else:
                written.existing += 1
        written.existing -= len(last)
    return last, written
