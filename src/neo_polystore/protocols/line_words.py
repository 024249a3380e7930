"""Cuts lines of InfluxDB line protocol into words: escapes, quotes, and strings over many lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

# a backslash takes the next character with it; what it does not escape stands for itself
_LINE: Final = re.compile(
    rb'\s*+((?:[^\\ ]|\\.|\\\Z)++)(?: ++((?:[^\\ "]|\\.|"(?:[^"\\]|\\.)*+")++)(?: ++(\S++))?)?\s*+',
    re.DOTALL,
)
_FIELD: Final = re.compile(
    rb'((?:[^\\,="]|\\.)++)=("(?:[^"\\]|\\.)*+"|(?:[^\\,"]|\\.)++)(?:,(?!\Z)|\Z)', re.DOTALL
)
_COMMA: Final = re.compile(rb"((?:[^\\,]|\\.|\\\Z)++)(?:,(?!\Z)|\Z)", re.DOTALL)
_PAIR: Final = re.compile(rb"((?:[^\\=]|\\.)++)=((?:[^\\=]|\\.|\\\Z)++)\Z", re.DOTALL)
_CLOSES: Final = re.compile(rb'(?:[^"\\]|\\.)*+"', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\([,= \\])")

MOST_LINES: Final = 1_000
"""Lines that the strings of one point may go over."""

Words = tuple[bytes, bytes, bytes]
"""Measurement and tags; fields; time or nothing."""


class LineError(ValueError):
    """The line is malformed."""


def words_of(text: list[bytes], start: int) -> tuple[Words | None, int]:
    """The words of the line at `start`, and the index of the line after it; None for no point.

    Raises LineError, after which the next line is the next one.
    """
    line = text[start].strip()
    if not line or line.startswith(b"#"):
        return None, start + 1
    if b'"' not in line and b"\\" not in line:
        words = line.split(b" ")
        if len(words) > 3:
            words = [word for word in words if word]
        if len(words) == 3:
            return (words[0], words[1], words[2]), start + 1
        if len(words) == 2:
            return (words[0], words[1], b""), start + 1
        raise LineError(_shape(len(words)))
    return _quoted(text, start)


def _quoted(text: list[bytes], start: int) -> tuple[Words, int]:
    line, end = text[start], start + 1
    while not (found := _LINE.fullmatch(line)):
        # is a string still open where the line ends? then it goes on to the line that closes it
        begun = _LINE.match(line)
        rest = line[begun.end() :] if begun else line
        if not rest.startswith(b'"') or _CLOSES.match(rest[1:]):
            raise LineError("expected measurement and tags, fields, and a time: bad word or escape")
        for following in range(end, min(len(text), start + MOST_LINES)):
            if _CLOSES.match(text[following]):
                line, end = b"\n".join(text[start : following + 1]), following + 1
                break
        else:
            raise LineError("a string is not closed")
    head, fields, time = found.groups(b"")
    if not fields:
        raise LineError(_shape(1))
    return (head, fields, time), end


def _shape(words: int) -> str:
    if words < 2:
        return "no fields: expected measurement, a space, and fields"
    return f"expected measurement and tags, fields, and a time, got {words} words"


def fields_of(word: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys, as they are escaped, and values; raises LineError."""
    if b'"' not in word and b"\\" not in word:
        for field in word.split(b","):
            key, equals, value = field.partition(b"=")
            if not (key and equals and value):
                raise LineError(f"field {_shown(field)}: expected key=value")
            yield key, value
        return
    place = 0
    while place < len(word):
        found = _FIELD.match(word, place)
        if not found:
            raise LineError(f"field {_shown(word[place:])}: expected key=value")
        yield found[1], found[2]
        place = found.end()


def measurement_of(word: bytes) -> tuple[str, dict[str, str]]:
    """The measurement and its tags; raises LineError."""
    parts = _parts(word)
    tags: dict[str, str] = {}
    for part in parts[1:]:
        found = _PAIR.match(part)
        if not found:
            raise LineError(f"tag {_shown(part)}: expected key=value")
        key = plain(found[1])
        if key in tags:
            raise LineError(f"tag {key!r} comes twice")
        tags[key] = plain(found[2])
    return plain(parts[0]), tags


def _parts(word: bytes) -> list[bytes]:
    if b"\\" not in word:
        parts = word.split(b",")
    else:
        parts, place = [], 0
        while place < len(word) and (found := _COMMA.match(word, place)):
            parts.append(found[1])
            place = found.end()
        if place < len(word):
            parts.append(b"")
    if not all(parts):
        raise LineError("measurement and tags: nothing between two commas")
    return parts


def plain(word: bytes) -> str:
    """A measurement, key or tag value without its escapes; LineError where it is no UTF-8."""
    if b"\\" in word:
        word = _ESCAPED.sub(rb"\1", word)
    try:
        return word.decode()
    except UnicodeDecodeError:
        raise LineError(f"{_shown(word)} is no valid UTF-8") from None


def _shown(word: bytes) -> str:
    return repr(word[:40].decode(errors="replace"))
