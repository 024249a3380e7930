"""The elements of a large JSON array or object, one after the other, in bounded memory."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, NoReturn

from neo_polystore.loaders.base import BadRecord
from neo_polystore.loaders.json_text import (
    DECODER,
    MAX_VALUE,
    SPACE,
    Element,
    NotJsonError,
    check_storable,
    explain,
)
from neo_polystore.loaders.source import FileProblem, Source

_CUT_OFF = 16
"""A complaint this many characters before the end of what was read may only mean "read more"."""


def elements(source: Source, key: str | None = None) -> Iterator[Element | BadRecord]:
    """The elements of the top-level array (`key` None), or of the array or object under `key`.

    What precedes a place that is not JSON, or where the file is cut off, is given; then comes a
    BadRecord, and that is the end. Raises FileProblem where there is no such container.
    """
    window = _Window(source)
    number = 0
    try:
        if not (window.begin() if key is None else window.enter(key)):
            what = "a JSON array" if key is None else f"a JSON object with {key!r} in it"
            raise FileProblem(f"expected {what}", field=key or "record")
        while not window.closed(first=number == 0):
            number += 1
            yield _checked(window.element(number))
        window.leave(nested=key is not None)
    except NotJsonError as error:
        yield BadRecord(number if window.inside else number + 1, "record", str(error))


def member(source: Source, key: str) -> Any:
    """The value of one member of the top-level object, None where there is none or no JSON."""
    window = _Window(source)
    try:
        return window.find(key)
    except NotJsonError:
        return None  # whoever reads the rest of the file reports it


def _checked(element: Element) -> Element | BadRecord:
    try:
        check_storable(element.text, element.value)
    except NotJsonError as error:
        return BadRecord(element.number, "record", str(error))
    return element


class _Window:
    """The part of a file's text that is being looked at; grows only while one value needs it."""

    def __init__(self, source: Source):
        self._chunks = _text(source)
        self._text = ""
        self._at = 0
        self._closing = ""
        self.inside = False
        """Whether the trouble, if there is one now, lies within an element."""

    def begin(self) -> bool:
        """Enter the top-level array, if the file is one."""
        self._closing = "]"
        return self._take("[")

    def enter(self, key: str) -> bool:
        """Enter the array or object under a key of the top-level object."""
        for name in self._members():
            opening = self._peek()
            if name == key and opening in ("[", "{"):
                self._closing = "]" if opening == "[" else "}"
                return self._take(opening)
            self._value()
        return False

    def find(self, key: str) -> Any:
        """The value under a key of the top-level object; its other members are passed over."""
        for name in self._members():
            _, value = self._value()
            if name == key:
                return value
        return None

    def element(self, number: int) -> Element:
        """The next element of the container that was entered."""
        self.inside = True
        name = self._name() if self._closing == "}" else ""
        text, value = self._value()
        self.inside = False
        return Element(number, name, text, value)

    def closed(self, *, first: bool) -> bool:
        """Pass the closing bracket, or the comma before the next element."""
        if self._take(self._closing):
            return True
        if not first and not self._take(","):
            self._complain(f"expected ',' or '{self._closing}'")
        return False

    def leave(self, *, nested: bool) -> None:
        """Pass what follows the container; raises NotJsonError where the file is not complete."""
        self._closing = "}"
        while nested and not self.closed(first=False):
            self._name()
            self._value()
        if self._peek():
            self._complain("expected the end of the file")

    def _members(self) -> Iterator[str]:
        """The names of the top-level object; the caller reads each value before the next name."""
        if self._take("{"):
            self._closing = "}"
            first = True
            while not self.closed(first=first):
                first = False
                yield self._name()

    def _take(self, character: str) -> bool:
        if self._peek() != character:
            return False
        self._at += 1
        return True

    def _name(self) -> str:
        if self._peek() != '"':
            self._complain("expected a name in quotes")
        _, name = self._value()
        if not self._take(":"):
            self._complain("expected ':'")
        return str(name)

    def _peek(self) -> str:
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def _value(self) -> tuple[str, Any]:
        self._peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                unfinished = error.msg.startswith("Unterminated")
                if (unfinished or error.pos >= len(self._text) - _CUT_OFF) and self._more():
                    continue
                raise explain(error) from None
            except (ValueError, RecursionError) as error:
                raise explain(error) from None
            if end == len(self._text) and self._more():
                continue  # the digits of a number may go on
            text = self._text[self._at : end]
            self._at = end
            return text, value

    def _more(self) -> bool:
        """Read on, at least as much again as is waiting, so that long values stay linear."""
        waiting = len(self._text) - self._at
        if waiting > MAX_VALUE:
            raise NotJsonError(f"longer than {MAX_VALUE:,} characters")
        parts = [self._text[self._at :]]
        wanted = max(waiting, 1)
        while wanted > 0 and (chunk := next(self._chunks, "")):
            parts.append(chunk)
            wanted -= len(chunk)
        self._text, self._at = "".join(parts), 0
        return len(parts) > 1

    def _complain(self, expectation: str) -> NoReturn:
        if found := self._peek():
            raise NotJsonError(f"not JSON: {expectation}, found {found!r}")
        raise NotJsonError("not JSON: the file ends in the middle")


def _text(source: Source) -> Iterator[str]:
    """The content as text; bytes that are not UTF-8 become lone surrogates, and are told later."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
    for chunk in source.chunks():
        if text := decoder.decode(chunk):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
