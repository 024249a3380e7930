"""Scripts for psql that can be run again: what is applied is passed over."""

from __future__ import annotations

from collections.abc import Iterable

from neo_polystore.pgkit.quoting import literal

_HEADER = """\
-- neo-polystore: {title}
-- Run it connected to the database, as the role that is to own what it makes:
--   psql -v ON_ERROR_STOP=1 -U neo_owner -d DATABASE -f FILE
-- What is applied already is passed over, so that it can be run again.
SET client_min_messages = warning;
DO $$ BEGIN PERFORM pg_advisory_lock(hashtext({lock})); END $$;
"""


def heading(title: str, *, lock: str) -> str:
    """How a script for psql begins: whoever else runs migrations waits for its end, or it waits."""
    return _HEADER.format(title=title, lock=literal(lock))


def unless(query: str, body: Iterable[str]) -> str:
    """Statements that psql passes over where `query` finds a row."""
    asked = f"SELECT NOT EXISTS ({query}) AS is_pending \\gset\n\\if :is_pending\n"
    return f"{asked}{ended(body)}\\endif\n"


def ended(body: Iterable[str]) -> str:
    """Statements with one semicolon each."""
    return "".join(f"{statement.strip().rstrip(';')};\n" for statement in body)
