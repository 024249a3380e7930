"""The objects of a directory in the order of their keys, reading no more folders than needed.

Blocks; called in threads.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from pathlib import Path

from neo_polystore.errors import CorruptDataError
from neo_polystore.objectkit.query import Bounds
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files import header
from neo_polystore.stores.files.errors import STORE
from neo_polystore.stores.files.names import (
    LONG,
    SUFFIX,
    part_of_file,
    part_of_folder,
    path_of,
)

Found = tuple[str, Path]


def walk(root: Path, bounds: Bounds) -> Iterator[StoredObject]:
    """Objects without content. One that is deleted meanwhile is left out."""
    for bucket in sorted(_buckets(root, bounds), key=lambda name: f"{name}/"):
        start = f"{bucket}/"
        if bounds.after >= start and not bounds.after.startswith(start):
            continue
        after = bounds.after.removeprefix(start) if bounds.after.startswith(start) else ""
        folder = root / bucket
        for name, path in heapq.merge(
            _names(folder, "", bounds.prefix, after), _long_names(folder, bounds.prefix, after)
        ):
            record = read_header(path)
            if record is None:
                continue
            if (record.bucket, record.name) != (bucket, name):
                raise CorruptDataError(f"the file of another object: {path}", store=STORE)
            yield record


def read_header(path: Path) -> StoredObject | None:
    """What the file's header says, or None where there is no file."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return header.read(handle, str(path)).record
    finally:
        os.close(handle)


def _buckets(root: Path, bounds: Bounds) -> list[str]:
    """The buckets there are; a name from outside is only compared, never made a path."""
    names = [entry.name for entry in _entries(root) if not entry.name.startswith("%")]
    return names if bounds.bucket is None else [name for name in names if name == bounds.bucket]


def _names(folder: Path, start: str, prefix: str, after: str) -> Iterator[Found]:
    """Names below a folder that stands for `start`, in order.

    Sorting a folder's names with a slash at their end puts everything in it where its objects
    belong: `a-b`, then `a/...`, then `a0`.
    """
    ordered = []
    for entry in _entries(folder):
        if entry.name == LONG:
            continue
        if entry.name.endswith(SUFFIX):
            ordered.append((start + part_of_file(entry.name), entry.name))
        else:
            ordered.append((start + part_of_folder(entry.name) + "/", entry.name))
    for name, entry_name in sorted(ordered):
        path = folder / entry_name
        if entry_name.endswith(SUFFIX):
            if name > after and name.startswith(prefix):
                yield name, path
        elif (name.startswith(prefix) or prefix.startswith(name)) and (
            name > after or after.startswith(name)
        ):
            yield from _names(path, name, prefix, after)


def _long_names(bucket: Path, prefix: str, after: str) -> Iterator[Found]:
    """Names that only their files know, in order."""
    found = []
    for entry in _entries(bucket / LONG):
        path = bucket / LONG / entry.name
        record = read_header(path)
        if record is None:
            continue
        if bucket.parent / path_of(record.bucket, record.name) != path:
            raise CorruptDataError(f"the file of another object: {path}", store=STORE)
        if record.name > after and record.name.startswith(prefix):
            found.append((record.name, path))
    return iter(sorted(found))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where it is gone, or a file that somebody else has put there."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
