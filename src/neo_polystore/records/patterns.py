"""The regular expressions that mean the same to Python, to MongoDB (PCRE) and to PostgreSQL.

The classes `\\d`, `\\w` and `\\s` take other characters in each of them, and flags, anchors by
letter and named groups are not everywhere. Literals, brackets, groups, choice, repetition, `^`, `$`
and the dot are left, and are enough to say how a text looks.
"""

from __future__ import annotations

import re
from typing import Any, Final

_NOT_SHARED: Final = re.compile(
    r"""
    \\ [A-Za-z0-9]      # classes, anchors, control characters, back references
    | \( \? (?! : )     # flags, lookaround, names
    | \[ \^? \[ | \[ :  # classes of POSIX
    | \{ ,              # {,n}
    | [*+?}] \+         # possessive
    """,
    re.VERBOSE,
)
_PART: Final = re.compile(r"\\. | \[ \^? \]? (?: \\. | [^\]\\] )* \] | .", re.VERBOSE | re.DOTALL)


def is_shared_pattern(value: Any) -> bool:
    """Whether this is a regular expression, and one that all engines read the same way."""
    if not isinstance(value, str) or _NOT_SHARED.search(value):
        return False
    try:
        return bool(re.compile(value))
    except re.error:
        return False


def for_postgresql(pattern: str) -> str:
    """The same in PostgreSQL's words: the dot takes no line break, `$` stands before a last one."""
    changed = {".": r"[^\n]", "$": r"(?=\n?\Z)"}
    return "".join(changed.get(part, part) for part in _PART.findall(pattern))
