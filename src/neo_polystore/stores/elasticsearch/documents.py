"""How a log entry stands in an index, and the template that every day's index is made from."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from neo_polystore.assets import asset
from neo_polystore.errors import CorruptDataError
from neo_polystore.records.logs import LogEntry
from neo_polystore.records.times import micros, moment
from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from neo_polystore.stores.elasticsearch.errors import STORE
from neo_polystore.stores.elasticsearch.words import LONGEST, words

TEXT_FIELDS = ("system", "level", "host", "trace_id")
"""Kept whole, for equality and order; `level`, `host` and `trace_id` may be absent."""

STORED = ("id", "timestamp", *TEXT_FIELDS, "message", "fields")
"""What of a document the entry is made of; the rest is for searching."""

_LONGEST_ID = 512  # bytes, the server's limit
_LONGEST_TERM = 32_766  # bytes, Lucene's limit


def template(config: ElasticsearchConfig) -> dict[str, Any]:
    """The index template of `schemas/elasticsearch/logs.json` for the indexes of a prefix."""
    content: dict[str, Any] = orjson.loads(asset("schemas/elasticsearch/logs.json").read_bytes())
    return {"index_patterns": [config.pattern], **content}


def name_of(key: str) -> str:
    """A document's `_id`: the entry's id, or the SHA-256 of one that is too long for the server."""
    data = key.encode()
    return key if len(data) <= _LONGEST_ID else f"sha256:{hashlib.sha256(data).hexdigest()}"


def pair_prefix(name: str) -> str:
    """What the pairs of one name begin with, and no other name's do."""
    return name.replace("\\", "\\\\").replace("=", "\\=") + "="


def pair(name: str, value: str) -> str:
    """One of an entry's fields as a term.

    A pair that is too long for a term is cut, with its SHA-256 in place of the rest: equality
    stays exact, order and distinct values see the cut form.
    """
    term = pair_prefix(name) + value
    if len(term) <= LONGEST or len(term.encode()) <= _LONGEST_TERM:
        return term
    return f"{term[:LONGEST]} sha256:{hashlib.sha256(term.encode()).hexdigest()}"


def to_document(entry: LogEntry) -> dict[str, Any]:
    """The source of the document that stands for one entry."""
    at = micros(entry.timestamp)
    document = {
        "id": entry.id,
        "timestamp": at,
        "@timestamp": at // 1000,
        "message": entry.message,
        "words": words(entry.message),
    }
    for name in TEXT_FIELDS:
        if (value := getattr(entry, name)) is not None:
            document[name] = value
    if entry.fields:
        document["fields"] = entry.fields
        document["pairs"] = [pair(name, value) for name, value in entry.fields.items()]
    return document


def from_document(source: dict[str, Any]) -> LogEntry:
    """The entry in a document's source; CorruptDataError where there is none."""
    try:
        return LogEntry.trusted({**source, "timestamp": moment(source["timestamp"])})
    except (KeyError, TypeError, OverflowError) as error:
        raise CorruptDataError(f"a document holds no log entry: {error}", store=STORE) from error
