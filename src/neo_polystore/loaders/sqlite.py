"""Rows of one table of a SQLite database: the file itself, or what `.dump` of its shell wrote."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from typing import Any, Final, get_args, get_origin
from uuid import UUID

from pydantic import AwareDatetime

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build, read_time
from neo_polystore.loaders.source import CHUNK, FileProblem, Source
from neo_polystore.records.base import Record

FILE: Final = b"SQLite format 3\x00"
MAX_STATEMENT: Final = 64 * 2**20
"""Bytes that one statement of a dump may have; the shell writes one for each row."""

_DUMP: Final = re.compile(
    r"\s*(PRAGMA foreign_keys\s*=\s*OFF;\s*)?BEGIN TRANSACTION;", re.IGNORECASE
)
_STATEMENT: Final = re.compile(
    r"\s*(CREATE TABLE|INSERT INTO)\s+(?:IF NOT EXISTS\s+)?"
    r"""(?:"((?:[^"]|"")+)"|'((?:[^']|'')+)'|\[([^\]]+)\]|`([^`]+)`|([^\s(]+))""",
    re.IGNORECASE,
)
_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ALLOWED: Final = frozenset(
    {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_DELETE}
    | {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_UPDATE}
    | {sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_REINDEX}
)
"""What statements of a dump may do. What else there is could reach another file."""


def looks_like(text: str) -> bool:
    """Whether a file begins as a database does, or as a dump of one."""
    return text.startswith(FILE.decode()) or _DUMP.match(text) is not None


def sqlite(model: type[Record]) -> Callable[[Source, LoadOptions], Iterator[Item]]:
    """A loader of the rows of `options.table` as records of this model, numbered from 1.

    A column belongs to the field of its name, in any case and with or without underscores
    (`BlockNumber` is `block_number`), or to the one that `options.columns` gives it; the empty
    text there leaves it out. A column that belongs to no field refuses the file: what would be
    lost has to be named. Null is absent. Times without a zone are UTC, numbers are Unix seconds.
    """

    def load(source: Source, options: LoadOptions) -> Iterator[Item]:
        columns: list[str] | None = None
        fields: dict[str, str] = {}
        for number, row in enumerate(_rows(source, options.table or ""), 1):
            if isinstance(row, str):
                yield BadRecord(number, "record", row)
                continue
            if columns != (columns := list(row)):
                fields = _fields(model, columns, options)
            yield _record(model, row, fields, number)

    return load


def _record(
    model: type[Record], row: Mapping[str, Any], fields: Mapping[str, str], number: int
) -> Item:
    data: dict[str, Any] = {}
    kinds = _kinds(model)
    for column, field in fields.items():
        if (value := row[column]) is None:
            continue
        try:
            data[field] = _value(value, kinds.get(field, frozenset()))
        except ValueError as error:
            return BadRecord(number, column, str(error))
    return build(model, data, number, {field: column for column, field in fields.items()})


def _value(value: Any, kinds: frozenset[Any]) -> Any:
    """What a cell is to a field of these types; raises ValueError with the reason."""
    if isinstance(value, bytes) and bytes not in kinds:
        also = ": a UUID as bytes may be in either of two orders" if UUID in kinds else ""
        raise ValueError(f"expected text or a number, got {len(value)} bytes{also}")
    if AwareDatetime in kinds:
        return read_time(value)
    if isinstance(value, str) and kinds & {dict, list} and str not in kinds:
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"expected JSON: {error}") from None
    return value


@cache
def _kinds(model: type[Record]) -> dict[str, frozenset[Any]]:
    """The plain types of each field, under the name that it is given by."""
    return {
        field.alias or name: frozenset(_plain(field.annotation))
        for name, field in model.model_fields.items()
    }


def _plain(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin in (dict, list) or not get_args(annotation):
        yield origin or annotation
        return
    for inner in get_args(annotation):
        yield from _plain(inner)


def _fields(model: type[Record], columns: list[str], options: LoadOptions) -> dict[str, str]:
    """The field of each column that has one; raises FileProblem for a column without."""
    given = options.columns
    if strange := sorted(set(given) - set(columns)):
        raise FileProblem(
            f"the table has no such column; it has {', '.join(columns)}", field=strange[0]
        )
    known = {_bare(name): name for name in _kinds(model)}
    takes_any = model.model_config.get("extra") == "allow"
    found: dict[str, str] = {}
    for column in columns:
        field = given.get(column, known.get(_bare(column)))
        if field is None and takes_any:
            field = _WORDS.sub("_", column).lower()
        if field is None:
            raise FileProblem(
                f"belongs to no field of {model.data_type}; name one with --column {column}=FIELD,"
                f" or leave it out with --column {column}=",
                field=column,
            )
        if field:
            found[column] = field
    for field in found.values():
        of_it = [column for column in found if found[column] == field]
        if len(of_it) > 1:
            raise FileProblem(f"columns {' and '.join(of_it)} are both {field}", field=of_it[1])
    return found


def _bare(name: str) -> str:
    return name.replace("_", "").lower()


Row = dict[str, Any] | str
"""The cells of a row by column, or why it cannot be read."""


def _rows(source: Source, table: str) -> Iterator[Row]:
    is_file = source.head().startswith(FILE)
    try:
        yield from _of_file(source, table) if is_file else _of_dump(source, table)
    except (sqlite3.Error, ValueError) as error:
        raise FileProblem(f"SQLite: {error}") from None


def _of_file(source: Source, table: str) -> Iterator[Row]:
    """Rows of a table or view of a database file, which stays as it is."""
    with source.path.open("rb") as raw:
        if raw.read(len(FILE)) != FILE:
            raise FileProblem("is a compressed SQLite database: unpack it, or load its dump")
    # not `immutable`: beside the file there may be a log with its newest rows
    address = f"{source.path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        database.execute("PRAGMA trusted_schema = OFF")
        names = [name for (name,) in database.execute(_TABLES)]
        if table not in names:
            raise _no_table(table, names)
        yield from _cells(database, table)


_TABLES: Final = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"


def _of_dump(source: Source, table: str) -> Iterator[Row]:
    """Rows of a dump: each INSERT of the table is run in memory, read back, and undone.

    Statements of other tables are not run, so neither are triggers and virtual tables.
    """
    seen: list[str] = []
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_STATEMENT)
        database.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
        )
        for raw in _statements(source):
            if raw is None:
                yield f"the statement is longer than {MAX_STATEMENT >> 20} MiB"
                continue
            statement = raw.decode(errors="replace")
            if (found := _STATEMENT.match(statement)) is None:
                continue
            verb, *names = found.groups()
            name = next(name for name in names if name).replace('""', '"').replace("''", "'")
            if verb.upper() == "CREATE TABLE":
                seen.append(name)
            if name != table:
                continue
            if verb.upper() == "CREATE TABLE":
                database.execute(statement)
                continue
            try:
                database.execute(raw.decode())
            except (sqlite3.Error, ValueError) as error:  # ValueError: not UTF-8, or a NUL in it
                yield f"SQLite: {error}"
                continue
            yield from list(_cells(database, table))
            database.execute(f"DELETE FROM {_quoted(table)}")  # noqa: S608 - an identifier, quoted
    if table not in seen:
        raise _no_table(table, seen)


def _cells(database: sqlite3.Connection, table: str) -> Iterator[Row]:
    # text that is none becomes what no record takes, so that one row is refused, not the rest
    database.text_factory = lambda text: text.decode(errors="surrogateescape")
    cursor = database.execute(f"SELECT * FROM {_quoted(table)}")  # noqa: S608 - see above
    columns = [column[0] for column in cursor.description]
    for cells in cursor:
        yield dict(zip(columns, cells, strict=True))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _no_table(table: str, names: list[str]) -> FileProblem:
    there = ", ".join(name for name in names if not name.startswith("sqlite_")) or "none"
    return FileProblem(f"has no table {table!r}; there are: {there}", field="table")


def _statements(source: Source) -> Iterator[bytes | None]:
    """Whole statements, which may have line breaks in them; None for one that is too long."""
    lines: list[bytes] = []
    size = 0
    for line in _lines(source):
        lines.append(line)
        size += len(line)
        if size > MAX_STATEMENT:
            lines.clear()  # its rest is no statement that anything here would run
            size = 0
            yield None
        elif line.rstrip().endswith(b";"):
            statement = b"".join(lines)
            text = statement.replace(b"\0", b" ").decode(errors="replace")
            if sqlite3.complete_statement(text):
                yield statement
                lines.clear()
                size = 0
    if b"".join(lines).strip():
        raise FileProblem("ends in the middle of a statement")


def _lines(source: Source) -> Iterator[bytes]:
    """Lines with their ends, which may be part of a text; a very long one comes in pieces."""
    rest = b""
    for chunk in source.chunks():
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)
        if len(rest) > CHUNK:
            yield rest
            rest = b""
    yield rest
