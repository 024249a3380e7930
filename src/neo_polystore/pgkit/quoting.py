"""Names and texts as SQL literals, for DDL, which takes no parameters."""

from __future__ import annotations

_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast
check collate collation column concurrently constraint create cross current_catalog
current_date current_role current_schema current_time current_timestamp current_user
default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral
leading left like limit localtime localtimestamp natural not notnull null offset on only or
order outer overlaps placing primary references returning right select session_user similar
some symmetric system_user table tablesample then to trailing true union unique user using
variadic verbose when where window with
"""
RESERVED = frozenset(_WORDS.split())
"""What pg_get_keywords() calls reserved (PostgreSQL 18)."""


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A quoted SQL string (`standard_conforming_strings`, the default since PostgreSQL 9.1)."""
    return "'" + text.replace("'", "''") + "'"


def name(plain: str) -> str:
    """An identifier for people to read: quoted only where it has to be."""
    simple = plain.isidentifier() and plain.isascii() and plain == plain.lower()
    return plain if simple and plain not in RESERVED else identifier(plain)
