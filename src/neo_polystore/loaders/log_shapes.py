"""What well-known shapes of log lines state of themselves: time, level, host."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_LEVEL = (
    r"(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|SEVERE|CRITICAL|FATAL|ALERT|EMERG)\b"
)
_MAX_HEAD = 200
"""Characters of a line that are looked at: everything sought stands at its beginning."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a line says of itself; None where it says nothing. A time without zone is UTC."""

    timestamp: datetime | None = None
    level: str | None = None
    host: str | None = None


NOTHING = Stated()


@dataclass(frozen=True, slots=True)
class _Shape:
    pattern: re.Pattern[str]
    time: Callable[[re.Match[str]], datetime | None]


def _calendar(match: re.Match[str]) -> datetime:
    """A time from the groups year, month, day, hour, minute, second and maybe fraction, zone."""
    groups = match.groupdict()
    year = int(groups["year"])
    month = groups["month"]
    fraction = (groups.get("fraction") or "").ljust(6, "0")[:6]
    time = datetime(
        year + 2000 if len(groups["year"]) == 2 else year,
        int(month) if month.isdigit() else _MONTHS[month.lower()],
        int(groups["day"]),
        int(groups["hour"]),
        int(groups["minute"]),
        int(groups["second"]),
        int(fraction),
        tzinfo=_zone(groups.get("zone")),
    )
    return time.astimezone(UTC)


def _zone(text: str | None) -> timezone:
    if text is None or text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def _unix(match: re.Match[str]) -> datetime:
    return datetime.fromtimestamp(int(match["seconds"]), UTC)


def _none(_: re.Match[str]) -> None:
    """A time without a year is no time: guessing the year would be wrong once a year."""


def _shape(pattern: str, time: Callable[[re.Match[str]], datetime | None] = _calendar) -> _Shape:
    return _Shape(re.compile(pattern, re.IGNORECASE), time)


_SHAPES = (
    # Apache error log: [Sun Dec 04 04:47:44 2005] [notice], 2.4 also .123456 and [core:notice]
    _shape(
        rf"\[\w{{3}} (?P<month>[a-z]{{3}}) (?P<day>\d\d) {_CLOCK}(?:\.(?P<fraction>\d+))?"
        rf" (?P<year>\d{{4}})\](?: \[(?:\w*:)?{_LEVEL}\])?"
    ),
    # ISO 8601, as log4j (comma before milliseconds) and most others write it
    _shape(
        rf"(?:<\d{{1,3}}>1 )?(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[T ]{_CLOCK}"
        r"(?:[.,](?P<fraction>\d{1,9}))?(?P<zone>Z|[+-]\d\d:?\d\d)?"
        rf"(?:[\s\-\[]*{_LEVEL})?"
    ),
    # Spark and Hadoop: 17/06/09 20:10:40 INFO
    _shape(rf"(?P<year>\d\d)/(?P<month>\d\d)/(?P<day>\d\d) {_CLOCK}(?: {_LEVEL})?"),
    # HDFS: 081109 203615 148 INFO
    _shape(
        r"(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d) (?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
        rf" \d+ {_LEVEL}"
    ),
    # Access logs: 10.0.0.1 - - [10/Oct/2000:13:55:36 -0700]
    _shape(
        rf"\S+ \S+ \S+ \[(?P<day>\d\d)/(?P<month>[a-z]{{3}})/(?P<year>\d{{4}}):{_CLOCK}"
        r" (?P<zone>[+-]\d{4})\]"
    ),
    # HPC: 134681 node-246 unix.hw state_change.unavailable 1077804742 1
    _shape(r"\d+ (?P<host>\S+) \S+ \S+ (?P<seconds>\d{9,10}) \d+ ", _unix),
    # syslog (RFC 3164): Jun 14 15:16:01 combo sshd
    _shape(rf"(?:<\d{{1,3}}>)?(?P<month>[a-z]{{3}}) [ \d]\d {_CLOCK} (?P<host>\S+) ", _none),
)


def read_line(line: str) -> Stated:
    """What the line states, by the first shape that it has; never an error."""
    head = line[:_MAX_HEAD]
    for shape in _SHAPES:
        match = shape.pattern.match(head)
        if match is None:
            continue
        try:
            time = shape.time(match)
        except (ValueError, KeyError, OverflowError, OSError):
            continue  # the digits are no date: another shape, or none
        groups = match.groupdict()
        return Stated(time, groups.get("level"), groups.get("host"))
    return NOTHING
