"""How a log entry stands in an index: its fields, its words and its place in the order."""

from __future__ import annotations

import hashlib
import unicodedata

from tantivy import (
    Document,
    Filter,
    Index,
    Schema,
    SchemaBuilder,
    TextAnalyzer,
    TextAnalyzerBuilder,
    Tokenizer,
)

from neo_polystore.records.logs import LogEntry
from neo_polystore.records.times import micros

TEXT_FIELDS = ("system", "level", "host", "trace_id")
"""Kept whole, for equality and order; `level`, `host` and `trace_id` may be absent."""

_TOKENIZER = "words"
_LONGEST_TERM = 65_530  # bytes; tantivy drops longer ones without a word
_PIECE = 8_000  # characters, at most four bytes each


def make_schema() -> Schema:
    """The schema of every day's index.

    `place` is the id's UTF-8 in hexadecimal: it orders as the id does, and a range of it can be
    written in tantivy's query language without any character that means something there.
    `fields` holds a term `name=value` per pair. `record` is the whole record as JSON.
    """
    builder = SchemaBuilder()
    builder.add_text_field("id", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("place", fast=True, tokenizer_name="raw", index_option="basic")
    for name in TEXT_FIELDS:
        builder.add_text_field(name, fast=True, tokenizer_name="raw", index_option="basic")
    builder.add_text_field("fields", tokenizer_name="raw", index_option="basic")
    builder.add_integer_field("timestamp", indexed=True, fast=True)
    builder.add_text_field("message", tokenizer_name=_TOKENIZER, index_option="position")
    builder.add_bytes_field("record", stored=True)
    return builder.build()


def _make_analyzer() -> TextAnalyzer:
    # Unlike tantivy's default analyser it removes no long words.
    return TextAnalyzerBuilder(Tokenizer.simple()).filter(Filter.lowercase()).build()


_ANALYZER = _make_analyzer()


def register_analyzer(index: Index) -> None:
    """Give an open index our tokenizer; an index file only keeps its name."""
    index.register_tokenizer(_TOKENIZER, _make_analyzer())


def words(text: str) -> list[str]:
    """The words of a text as they stand in the index, in order."""
    return list(_ANALYZER.analyze(_folded(text)))


def _folded(text: str) -> str:
    """The text with letter case and composed forms made equal, and no word too long for a term.

    A word of more than 8,000 characters becomes pieces of that length, in documents and in
    queries alike.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = unicodedata.normalize("NFC", text.casefold())
    if len(text) <= _PIECE:
        return text
    return " ".join(
        word[start : start + _PIECE]
        for word in _ANALYZER.analyze(text)
        for start in range(0, len(word), _PIECE)
    )


def place_of(key: str) -> str:
    """The id as it is ordered: the hexadecimal digits of its UTF-8."""
    return key.encode().hex()


def key_of(place: str) -> str:
    """The inverse of `place_of`."""
    return bytes.fromhex(place).decode()


def field_prefix(name: str) -> str:
    """What the terms of one name in `fields` begin with, and no other name's terms do."""
    return name.replace("\\", "\\\\").replace("=", "\\=") + "="


def field_term(name: str, value: str) -> str:
    """The term of one pair in `fields`.

    A pair that is too long for a term is cut, with its SHA-256 in place of the rest: equality
    stays exact, order and distinct values see the cut form.
    """
    term = field_prefix(name) + value
    if len(term) <= _PIECE or len(term.encode()) <= _LONGEST_TERM:
        return term
    return f"{term[:_PIECE]} sha256:{hashlib.sha256(term.encode()).hexdigest()}"


def to_document(entry: LogEntry) -> Document:
    """The document that stands for one entry."""
    document = Document()
    document.add_text("id", entry.id)
    document.add_text("place", place_of(entry.id))
    for name in TEXT_FIELDS:
        value = getattr(entry, name)
        if value is not None:
            document.add_text(name, value)
    for name, value in entry.fields.items():
        document.add_text("fields", field_term(name, value))
    document.add_integer("timestamp", micros(entry.timestamp))
    document.add_text("message", _folded(entry.message))
    document.add_bytes("record", entry.model_dump_json().encode())
    return document


def from_document(document: Document) -> LogEntry:
    """The entry in a stored document."""
    stored: bytes = document.get_first("record") or b""
    return LogEntry.model_validate_json(stored)
