"""Many records of a unit of work at once: find them, insert those that are new, or update."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

from neo_polystore.errors import ConflictError, NotFoundError
from neo_polystore.records.base import Record
from neo_polystore.records.results import Rejection, Written
from neo_polystore.stores.postgres.base import PgRecords

R = TypeVar("R", bound=Record)

PORTION: Final = 5_000
"""Keys that are looked up by one statement."""

ATTEMPTS: Final = 5

_TYPES: Final = {UUID: "uuid", int: "bigint", str: "text"}
_PARAMETER: Final = re.compile(r"\$(\d+)")


async def stored(records: PgRecords[R], keys: Sequence[str], *, lock: bool = False) -> dict[str, R]:
    """The records with these keys, those that there are; `lock` keeps them until the end."""
    found: dict[str, R] = {}
    identified: list[tuple[tuple[Any, ...], str]] = []
    for key in dict.fromkeys(keys):
        try:
            identified.append((records.identify(key), key))
        except NotFoundError:
            continue
    identified.sort()  # who locks many rows locks them in one order, as everybody does
    for start in range(0, len(identified), PORTION):
        found |= await _portion(records, identified[start : start + PORTION], lock=lock)
    return found


async def _portion(
    records: PgRecords[R], identified: list[tuple[tuple[Any, ...], str]], *, lock: bool
) -> dict[str, R]:
    columns = [list(column) for column in zip(*(given for given, _ in identified), strict=True)]
    arrays = ", ".join(
        f"${place}::{_TYPES[type(column[0])]}[]" for place, column in enumerate(columns, 1)
    )
    names = ", ".join(f"a{place}" for place in range(1, len(columns) + 1))
    lookup = _PARAMETER.sub(r"wanted.a\1", records.lookup)
    locking = f"FOR UPDATE OF {records.row}" if lock else ""
    sql = (
        f"SELECT wanted.place, r.* FROM unnest({arrays}) WITH ORDINALITY AS wanted({names}, place),"
        f" LATERAL (SELECT {records.selection.selected()} {lookup} {locking}) AS r"
    )
    rows = await records.fetch("stored", sql, columns)
    return {identified[row["place"] - 1][1]: records.from_row(row) for row in rows}


async def insert_all(records: PgRecords[R], batch: Sequence[R]) -> Written:
    """Store what is not stored yet, and change nothing that is; see `ports.relational`."""
    for _ in range(ATTEMPTS):
        try:
            async with records.database.transaction("add_all", records.scope):
                return await _insert(records, batch)
        except _StoredMeanwhileError:
            continue
    name = records.record.data_type
    raise ConflictError(f"somebody else keeps storing the same {name}", store="postgres")


class _StoredMeanwhileError(Exception):
    """Somebody else stored one of the keys between the look and the write: look again."""


async def _insert(records: PgRecords[R], batch: Sequence[R]) -> Written:
    last = {record.key: place for place, record in enumerate(batch)}
    present = await stored(records, list(last))
    fresh: list[int] = []
    written = Written()
    for place, record in enumerate(batch):
        if (old := present.get(record.key)) is not None:
            if records.mutable and old != record:
                reason = "is stored already, and not like this"
                written.rejected.append(Rejection(place, "record", reason))
            else:
                written.existing += 1
        elif last[record.key] == place:
            fresh.append(place)
        elif batch[last[record.key]] == record:
            written.existing += 1
        else:
            written.replaced += 1
    answer = await records.write([batch[place] for place in fresh])
    if answer.replaced:
        raise _StoredMeanwhileError
    return _merged(written, answer, fresh)


async def update_all(records: PgRecords[R], batch: Sequence[R]) -> Written:
    """Replace what is stored, and store nothing new; see `ports.relational`."""
    async with records.database.transaction("update_all", records.scope):
        keys = [record.key for record in batch]
        present = await stored(records, keys, lock=records.mutable)
        written = Written()
        there: list[int] = []
        for place, record in enumerate(batch):
            old = present.get(record.key)
            if old is None:
                written.rejected.append(Rejection(place, "record", "is not stored"))
            elif not records.mutable and old != record:
                written.rejected.append(Rejection(place, "record", "is immutable"))
            else:
                there.append(place)
        return _merged(written, await records.write([batch[place] for place in there]), there)


def _merged(written: Written, answer: Written, places: Sequence[int]) -> Written:
    """Both counts, the rejections of `answer` at their places in the whole batch."""
    answer.rejected = [
        Rejection(places[rejection.index], rejection.field, rejection.reason)
        for rejection in answer.rejected
    ]
    written += answer
    written.rejected.sort(key=lambda rejection: rejection.index)
    return written
