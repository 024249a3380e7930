"""Where an object's file lies: any legal name becomes a path that the file system can hold.

`bucket/reports/2026/a.csv` is the file `bucket/reports/2026/a.csv.obj`. Every part of a name is
percent-encoded as in a URL, a leading dot too; only files end in `.obj`, so `a` and `a/b` are
both possible. A name with a part of more than 200 encoded bytes, or with more than 1000 in all,
lies in `bucket/%long/` under its SHA-256. No part of an encoded name starts with `%l`, nor can a
bucket start with `%`, where our own files are.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote, unquote

SUFFIX = ".obj"
LONG = "%long"
INCOMING = "%incoming"
LOCKS = "%locks"
FORMAT = "%format"

_LONGEST_PART = 200
_LONGEST_NAME = 1000


def path_of(bucket: str, name: str) -> str:
    """The object's path, relative to the directory of the store."""
    *folders, last = (_encode(part) for part in name.split("/"))
    parts = [*map(_folder, folders), last + SUFFIX]
    if max(map(len, parts)) > _LONGEST_PART or sum(map(len, parts)) > _LONGEST_NAME:
        return f"{bucket}/{LONG}/{hashlib.sha256(name.encode()).hexdigest()}{SUFFIX}"
    return "/".join([bucket, *parts])


def part_of_file(entry: str) -> str:
    """The last part of the name of the object in this file (not one in `%long`)."""
    return unquote(entry.removesuffix(SUFFIX))


def part_of_folder(entry: str) -> str:
    """The part of a name that this directory stands for."""
    return unquote(entry)


def _encode(part: str) -> str:
    encoded = quote(part, safe="")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _folder(encoded: str) -> str:
    if encoded.endswith(SUFFIX):
        return encoded.removesuffix(SUFFIX) + "%2E" + SUFFIX[1:]
    return encoded
