"""What is kept how long, and what is archived before it goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from neo_polystore.errors import ConfigError

INDEFINITE: Final = "indefinite"

_AGE: Final = re.compile(r"(-?\d{1,9}) (day|week|month|year)s?")


@dataclass(frozen=True, slots=True)
class Age:
    """So many days, weeks, months or years; calendar ones, as PostgreSQL counts them."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str, *, where: str) -> Age:
        """Read `90 days` or `7 years`; ConfigError for what is none, zero or negative."""
        found = _AGE.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"{where}: expected an age such as '90 days' or '7 years', or 'indefinite',"
                f" got {text!r}"
            )
        if (count := int(found[1])) < 1:
            raise ConfigError(
                f"{where}: {text!r} would delete everything at once; a period is at least '1 day'"
            )
        if count > 1_000 * (365 if found[2] == "day" else 1):
            raise ConfigError(f"{where}: {text!r} is longer than 1,000 years: say 'indefinite'")
        return cls(count, found[2])

    def before(self, now: datetime) -> datetime:
        """What is older than this moment is past its time at `now`."""
        if self.unit in ("day", "week"):
            return now - timedelta(days=self.count * (7 if self.unit == "week" else 1))
        months = self.count * (12 if self.unit == "year" else 1)
        year, month = divmod(now.year * 12 + now.month - 1 - months, 12)
        if year < 1:
            return datetime.min.replace(tzinfo=now.tzinfo)
        for day in range(now.day, 27, -1):  # 31 March less a month is the end of February
            try:
                return now.replace(year=year, month=month + 1, day=day)
            except ValueError:
                continue
        return now.replace(year=year, month=month + 1)

    def __str__(self) -> str:
        """As it is written in the table."""
        return f"{self.count} {self.unit}" + ("s" if self.count > 1 else "")


@dataclass(frozen=True, slots=True)
class Rule:
    """One data type. `age` is None where nothing goes, and `why` then says it.

    `keep` is what the policy says, `source` where: a file, a setting, the routing table.
    """

    data_type: str
    engine: str
    keep: str
    age: Age | None
    source: str
    archive: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules, the bucket that archives go to, and when the job runs (a cron rule, UTC)."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    bucket: str = "archive"
    cron: str = "30 3 * * *"
