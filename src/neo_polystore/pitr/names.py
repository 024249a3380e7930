"""Names of WAL files, positions in WAL, and the way that timelines lead through them.

A segment is named by timeline, "log" and number, eight hexadecimal digits each; where timelines
branch off stands in history files (PostgreSQL: xlog_internal.h, timeline.c).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from neo_polystore.errors import BackupError, IntegrityError

SEGMENT_BYTES = 16 << 20
_NAME = re.compile(
    r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?|(?P<history>[0-9A-F]{8})\.history"
)
_SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """One segment: which timeline, and the how manieth since the beginning of WAL."""

    timeline: int
    number: int

    def name(self, size: int = SEGMENT_BYTES) -> str:
        """As its file is named, in a cluster with segments of `size` bytes."""
        high, low = divmod(self.number, (1 << 32) // size)
        return f"{self.timeline:08X}{high:08X}{low:08X}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """WAL of one timeline from `begin` to `end` (positions; None: as far as there is any)."""

    timeline: int
    begin: int
    end: int | None


def check_name(name: str) -> str:
    """The name; BackupError where PostgreSQL gives no WAL file such a name."""
    if not _NAME.fullmatch(name):
        raise BackupError(f"{name!r} is no name of a WAL file")
    return name


def history_of(name: str) -> int | None:
    """The timeline whose history file has this name."""
    match = _NAME.fullmatch(name)
    return int(match["history"], 16) if match and match["history"] else None


def history_name(timeline: int) -> str:
    """The name of a timeline's history file."""
    return f"{timeline:08X}.history"


def segment_of(name: str, size: int = SEGMENT_BYTES) -> Segment | None:
    """The segment that a file has, in part or in whole; None for other files."""
    match = _SEGMENT.fullmatch(name)
    if match is None:
        return None
    timeline, high, low = (int(match[group], 16) for group in (1, 2, 3))
    return Segment(timeline, high * ((1 << 32) // size) + low)


def position(text: str) -> int:
    """An LSN (`16/B374D848`) as a number; BackupError for what is none."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if match is None:
        raise BackupError(f"{text!r} is no position in WAL")
    return int(match[1], 16) << 32 | int(match[2], 16)


def lsn(value: int) -> str:
    """A position as PostgreSQL writes it."""
    return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"


def way_to(timeline: int, histories: Mapping[int, str]) -> list[Stretch]:
    """The stretches of WAL that lead to a timeline, its own the last.

    `histories` are the texts of history files. BackupError where that of a timeline other than
    the first is not there, IntegrityError where one is not laid out as one.
    """
    if timeline == 1 and 1 not in histories:
        return [Stretch(1, 0, None)]
    if timeline not in histories:
        raise BackupError(f"the archive has no history of timeline {timeline}")
    found, begin = [], 0
    for line in histories[timeline].splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found.append(Stretch(int(words[0]), begin, position(words[1])))
        except (ValueError, IndexError, BackupError):
            raise IntegrityError(
                f"{history_name(timeline)} has a line that is none: {line[:80]!r}"
            ) from None
        begin = found[-1].end or 0
    return [*found, Stretch(timeline, begin, None)]
