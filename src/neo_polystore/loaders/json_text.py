"""JSON with exact integers that stores can keep: single values, lines, whole files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from neo_polystore.loaders.base import BadRecord
from neo_polystore.loaders.source import BOM, MAX_LINE, FileProblem, Source

MAX_VALUE = 64 * 1024 * 1024
"""Characters that one element of a container, or a file read as one value, may have."""

MAX_DEPTH = 100
"""How deep arrays and objects may nest, as deep as a document may."""

SPACE = " \t\r\n"
_ESCAPE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")


@dataclass(frozen=True, slots=True)
class Element:
    """One value of a file: its number from 1, its key in an object, its text and its value."""

    number: int
    name: str
    text: str
    value: Any


class NotJsonError(ValueError):
    """The text is not JSON, or holds what no store can keep; the message says what."""


def _no_constant(name: str) -> NoReturn:
    raise NotJsonError(f"not JSON: {name} is no JSON number")


DECODER = json.JSONDecoder(parse_constant=_no_constant)
"""Raises JSONDecodeError, and also what `explain` takes, for text that is not JSON."""


def parse(raw: bytes | str) -> Any:
    """One JSON value; raises NotJsonError. Integers of any size stay exact."""
    text = raw if isinstance(raw, str) else _utf8(raw)
    try:
        value, end = DECODER.raw_decode(text, len(text) - len(text.lstrip(SPACE)))
    except (ValueError, RecursionError) as error:
        raise explain(error) from None
    if text[end:].strip(SPACE):
        raise NotJsonError(f"not JSON: more text after the value, at character {end + 1}")
    check_storable(text, value)
    return value


def json_lines(source: Source) -> Iterator[Element | BadRecord]:
    """One JSON object per line; the number is the line's, blank lines are passed over."""
    for number, line in enumerate(source.lines(), 1):
        if line is None:
            yield BadRecord(number, "record", f"the line is longer than {MAX_LINE:,} bytes")
        elif line.strip():
            try:
                value = parse(line)
                yield an_object(Element(number, "", line.decode(), value))
            except NotJsonError as error:
                yield BadRecord(number, "record", str(error))


def document(source: Source) -> Any:
    """The file as one JSON value; raises FileProblem where it is none or is too large."""
    content = bytearray()
    for chunk in source.chunks():
        content += chunk
        if len(content) > MAX_VALUE:
            raise FileProblem(f"is larger than {MAX_VALUE:,} bytes", number=1)
    try:
        return parse(bytes(content).removeprefix(BOM))
    except NotJsonError as error:
        raise FileProblem(str(error), field="record", number=1) from None


def an_object(element: Element) -> Element | BadRecord:
    """The element if it is an object, else the problem."""
    if isinstance(element.value, dict):
        return element
    kinds = {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}
    kind = kinds.get(type(element.value), "a number")
    return BadRecord(element.number, "record", f"expected a JSON object, got {kind}")


def explain(error: ValueError | RecursionError) -> NotJsonError:
    """Why the decoder refused, in words for the person whose file it is."""
    if isinstance(error, NotJsonError):
        return error
    if isinstance(error, json.JSONDecodeError):
        cut_off = error.pos >= len(error.doc) or error.msg.startswith("Unterminated")
        hint = " (is it cut off?)" if cut_off else ""
        return NotJsonError(f"not JSON: {error.msg} at character {error.pos + 1}{hint}")
    if isinstance(error, RecursionError):
        return NotJsonError("not JSON that can be read: nested too deeply")
    return NotJsonError(f"not JSON that can be read: {str(error).partition(';')[0]}")


def check_storable(text: str, value: Any) -> None:
    """Raise NotJsonError for what was not UTF-8, lone surrogates, NUL characters, deep nesting."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            byte = ord(text[error.start]) - 0xDC00  # as "surrogateescape" wrote it
            raise NotJsonError(f"not UTF-8: byte {byte:#04x}") from None
    if _ESCAPE.search(text):
        _check_strings(value)
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(value)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    if level:
        raise NotJsonError(f"nested deeper than {MAX_DEPTH} levels")


def _check_strings(value: Any) -> None:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            stack += [*item, *item.values()]
        elif isinstance(item, list):
            stack += item
        elif isinstance(item, str):
            if "\x00" in item:
                raise NotJsonError("contains a NUL character, which no store can hold")
            try:
                item.encode()
            except UnicodeEncodeError:
                raise NotJsonError("contains half of a surrogate pair, which is no text") from None


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        where = f"byte {raw[error.start]:#04x} at offset {error.start}"
        raise NotJsonError(f"not UTF-8: {where}") from None
