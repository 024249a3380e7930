"""How a document stands in SQL: names, literals, and the typed expression for a place in it."""

from __future__ import annotations

from neo_polystore.pgkit.select import Column
from neo_polystore.records.rules import ID, Kind, Place

SCHEMA = "documents"

DATE_PATTERN = (
    r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z$"
)
"""A declared date: ISO 8601, UTC, fixed width, so that text order is time order."""


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string, for DDL, which takes no parameters."""
    return "'" + text.replace("'", "''") + "'"


def table(collection: str) -> str:
    """The qualified table of a collection."""
    return f"{SCHEMA}.{identifier(collection)}"


def member(path: tuple[str, ...], *, text: bool = False) -> str:
    """The jsonb value at a path of fields, or its text."""
    steps = [literal(step) for step in path]
    arrows = [" -> "] * (len(steps) - 1) + [" ->> " if text else " -> "]
    return "body" + "".join(arrow + step for arrow, step in zip(arrows, steps, strict=True))


LONGEST_WORD = 200
"""Characters of a word that the index of a text knows; an entry of it holds 2,704 bytes."""


def words_of(path: tuple[str, ...]) -> str:
    """The words of a text in small letters, as an array that a GIN index serves."""
    short = f"regexp_replace({member(path, text=True)}, '\\w{{{LONGEST_WORD},}}', ' ', 'g')"
    return f"regexp_split_to_array(lower({short}), '\\W+')"


_CASTS: dict[Kind, tuple[str, str]] = {
    "bool": ("boolean", "boolean"),
    "int": ("number", "numeric"),
    "double": ("number", "double precision"),
}


def column(place: Place) -> Column | None:
    """The typed expression for a place that holds one scalar, None for any other.

    Text and dates order by code points, as in MongoDB. A value of another type, from before the
    field was declared, is absent rather than an error.
    """
    if place.path == (ID,):
        return Column("_id", "text")
    if place.kind is None or place.many or not place.named:
        return None
    if place.kind in ("string", "date"):
        return Column(f'(({member(place.path, text=True)}) COLLATE "C")', "text")
    kind, cast = _CASTS[place.kind]
    value = member(place.path)
    sql = f"(CASE jsonb_typeof({value}) WHEN {literal(kind)} THEN ({value})::{cast} END)"
    return Column(sql, cast)
