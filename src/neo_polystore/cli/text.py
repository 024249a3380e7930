"""Values as text for a terminal: one line each, and nothing in them that steers the terminal."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic_core import to_jsonable_python


def printable(text: str) -> str:
    """The text with control characters (line breaks, escape sequences) written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cell(value: Any) -> str:
    """One value of a record for a table; empty for an absent one."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.isoformat().replace("T", " ").replace("+00:00", "Z")
        case bytes():
            return f"<{len(value):,} bytes>"
        case dict() | list() | tuple():
            text = json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)
            return "" if text in ("{}", "[]") else printable(text)
        case _:
            return printable(digits(value))


def digits(value: Any) -> str:
    """A number as digits without losing one (no exponent for exact types); all else as text."""
    return format(value, "f") if isinstance(value, Decimal) else str(value)
