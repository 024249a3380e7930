"""Reads as much of a ClickHouse statement as its transport has to know."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
      (?P<space>\s+|--[^\n]*|\#!?[^\n]*|/\*.*?\*/)
    | (?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*"|'(?:[^'\\]|\\.|'')*')
    | (?P<word>\w+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_TRAILING_FORMAT = re.compile(rb"\bFORMAT\s+(\w+)\s*(?:SETTINGS\s[^'\"`]*)?;?\s*\Z", re.IGNORECASE)
_RESULTS = {b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN"}
_ENDS_INSERT_HEAD = {b"SELECT", b"WITH", b"VALUES", b"INFILE"}


@dataclass(frozen=True)
class DataInsert:
    """An INSERT whose rows follow the statement: its text before FORMAT, and where rows begin."""

    head: str
    format: str
    data_start: int


def words(statement: bytes, count: int) -> list[bytes]:
    """The first words of a statement, upper case, past comments and brackets."""
    found: list[bytes] = []
    for match in _TOKEN.finditer(statement):
        if match.lastgroup == "word":
            found.append(match[0].upper())
        elif match.lastgroup == "quoted":
            break
        if len(found) == count:
            break
    return found


def data_insert(statement: bytes) -> DataInsert | None:
    """Find `INSERT INTO ... FORMAT name` at the start; None for every other statement.

    What follows the format's name is data, by ClickHouse's rule: blanks and one line end after
    the name are skipped, and everything else belongs to the rows.
    """
    first = True
    wants_name_from = -1
    for match in _TOKEN.finditer(statement):
        if match.lastgroup == "space":
            continue
        if match.lastgroup != "word":
            if first or wants_name_from >= 0:
                return None
            continue
        word = match[0].upper()
        if first:
            if word != b"INSERT":
                return None
            first = False
        elif wants_name_from >= 0:
            head = statement[:wants_name_from].decode()
            return DataInsert(head, match[0].decode(), _skip_blanks(statement, match.end()))
        elif word in _ENDS_INSERT_HEAD:
            return None
        elif word == b"FORMAT":
            wants_name_from = match.start()
    return None


def _skip_blanks(statement: bytes, position: int) -> int:
    while statement[position : position + 1] in (b" ", b"\t", b"\f"):
        position += 1
    for end in (b"\r", b"\n"):
        if statement[position : position + 1] == end:
            position += 1
    return position


def trailing_format(statement: bytes) -> str | None:
    """The format that a statement asks for at its end."""
    match = _TRAILING_FORMAT.search(statement, max(0, len(statement) - 4096))
    return match[1].decode() if match else None


def has_result(statement: bytes) -> bool:
    """Whether it is a query, the only kind that can be streamed."""
    return words(statement, 1)[:1] != [] and words(statement, 1)[0] in _RESULTS


def changes_session(statement: bytes) -> bool:
    """Whether it leaves something behind on its connection that the next user must not see."""
    start = words(statement, 2)
    return start[:1] in ([b"SET"], [b"USE"]) or start in (
        [b"CREATE", b"TEMPORARY"], [b"DROP", b"TEMPORARY"], [b"REPLACE", b"TEMPORARY"],
    )  # fmt: skip
