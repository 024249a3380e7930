"""The words of a text, as they are indexed and asked for."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
LONGEST = 8_000
"""Characters of a word, at most four bytes each: a term may have 32,766 bytes."""


def words(text: str) -> list[str]:
    """The different words of a text in order, letter case and composed forms made equal.

    A word is a run of letters, digits and the marks that belong to them. One of more than
    `LONGEST` characters becomes pieces of that length, in documents and in queries alike.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
        text = unicodedata.normalize("NFC", text.casefold())
        found = _marked(text)
    else:
        found = _WORD.findall(text.lower())
    if any(len(word) > LONGEST for word in found):
        found = [
            word[start : start + LONGEST]
            for word in found
            for start in range(0, len(word), LONGEST)
        ]
    return list(dict.fromkeys(found))


def _marked(text: str) -> list[str]:
    """As the pattern, but marks (vowel signs, accents that compose with nothing) end no word."""
    spaced = "".join(
        char if char.isalnum() or unicodedata.category(char).startswith("M") else " "
        for char in text
    )
    return spaced.split()
