"""Names and texts as SQL literals, for DDL, which takes no parameters."""

from __future__ import annotations


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string (`standard_conforming_strings`, the default since PostgreSQL 9.1)."""
    return "'" + text.replace("'", "''") + "'"


def name(plain: str) -> str:
    """An identifier for people to read: quoted only where it has to be."""
    simple = plain.isidentifier() and plain.isascii() and plain == plain.lower()
    return plain if simple else identifier(plain)
