"""A batch of objects before any engine sees it: checked, and one per key."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from neo_polystore.records.batch import last_by_key
from neo_polystore.records.objects import StoredObject
from neo_polystore.records.results import Rejection, Written


def prepare(records: Sequence[StoredObject]) -> tuple[list[tuple[int, StoredObject]], Written]:
    """The objects to store, each with its place in the batch and its size and SHA-256 filled in,
    and the counts of the others.

    Rejected are objects without content and those whose size or SHA-256 is not the content's.
    What `modified` says is left to the store.
    """
    rejected: list[Rejection] = []
    good: list[StoredObject] = []
    places: dict[str, int] = {}
    for index, record in enumerate(records):
        problem = _problem(record)
        if problem is not None:
            rejected.append(Rejection(index, *problem))
            continue
        content = record.content or b""
        digest = hashlib.sha256(content).hexdigest()
        update = {"size": len(content), "sha256": digest, "modified": None}
        good.append(record.model_copy(update=update))
        places[record.key] = index
    last, written = last_by_key(good)
    written.rejected += rejected
    return [(places[key], record) for key, record in last.items()], written


def _problem(record: StoredObject) -> tuple[str, str] | None:
    if record.content is None:
        return "content", "missing: an object is stored with its content"
    if record.size is not None and record.size != len(record.content):
        return "size", f"the content has {len(record.content)} bytes, not {record.size}"
    if record.sha256 is not None and record.sha256.lower() != record.digest():
        return "sha256", f"the content's is {record.digest()}"
    return None
