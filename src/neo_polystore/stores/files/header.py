"""The two lines before the content: what the object is, so that one file is one whole object.

    NEOOBJ1 <bytes of the second line> <its CRC-32>
    {"bucket":...,"name":...,"content_type":...,"size":...,"sha256":...,"modified":...}

Name, content and checksum live and die together: a rename replaces them all at once, and no
crash can leave one without the other. `tail -n +3` prints the content. The second line is padded
with spaces: it is written last, when size and checksum are known, over a place kept for it.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import CorruptDataError
from neo_polystore.records.objects import StoredObject
from neo_polystore.stores.files.errors import STORE

_MAGIC = b"NEOOBJ1"
_FIRST_LINE = len(b"NEOOBJ1 00000000 00000000\n")
_USUAL = 2048


@dataclass(frozen=True, slots=True)
class Header:
    """An object without content, and where in its file the content starts."""

    record: StoredObject
    start: int


def reserve(bucket: str, name: str, content_type: str) -> int:
    """Bytes to keep for the header of an object whose size and checksum are not known yet."""
    largest = StoredObject(
        bucket=bucket,
        name=name,
        content_type=content_type,
        size=2**63,
        sha256="0" * 64,
        modified=datetime(2026, 1, 1, 0, 0, 0, 1, UTC),
    )
    return _FIRST_LINE + len(_line(largest))


def encode(record: StoredObject, length: int) -> bytes:
    """The header, padded to the length that `reserve` gave."""
    line = _line(record).rstrip(b"\n").ljust(length - _FIRST_LINE - 1) + b"\n"
    return b"%s %08d %08x\n%s" % (_MAGIC, len(line), zlib.crc32(line), line)


def read(handle: int, path: str) -> Header:
    """The header of an open file; CorruptDataError where it is none or the file's length wrong."""
    text = os.pread(handle, _USUAL, 0)
    fields = text[:_FIRST_LINE].split()
    if len(fields) != 3 or fields[0] != _MAGIC or not fields[1].isdigit():
        raise CorruptDataError(f"no object file: {path}", store=STORE)
    length = int(fields[1])
    line = text[_FIRST_LINE : _FIRST_LINE + length]
    if len(line) < length:
        line = os.pread(handle, length, _FIRST_LINE)
    if b"%08x" % zlib.crc32(line) != fields[2]:
        raise CorruptDataError(f"the header is damaged: {path}", store=STORE)
    try:
        record = StoredObject.model_validate(orjson.loads(line))
    except (PydanticError, ValueError):
        raise CorruptDataError(f"the header cannot be read: {path}", store=STORE) from None
    start = _FIRST_LINE + length
    if os.fstat(handle).st_size != start + (record.size or 0):
        raise CorruptDataError(f"the content is not {record.size} bytes: {path}", store=STORE)
    return Header(record, start)


def _line(record: StoredObject) -> bytes:
    values = record.model_dump(mode="json", exclude={"content"})
    if record.modified is not None:
        values["modified"] = record.modified.isoformat(timespec="microseconds")
    return orjson.dumps(values) + b"\n"
