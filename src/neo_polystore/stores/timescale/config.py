"""Where the metrics are, and how long each resolution is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, field_validator
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import ConfigError
from neo_polystore.pgkit.database import PgConfig
from neo_polystore.records.base import problems_of

INDEFINITE: Final = "indefinite"

_AGE: Final = re.compile(r"([1-9]\d{0,4}) (day|week|month|year)s?")
_DAYS: Final = {"day": 1, "week": 7, "month": 28, "year": 365}
_RAW_DAYS_AT_LEAST: Final = 7


def _checked(age: str) -> str:
    if age != INDEFINITE and not _AGE.fullmatch(age):
        raise ValueError(f"expected an age such as '90 days' or {INDEFINITE!r}, got {age!r}")
    return age


Age = Annotated[str, AfterValidator(_checked)]
"""`90 days`, `2 years` (days, weeks, months, years) or `indefinite`."""


def days_of(age: str) -> int | None:
    """The least days that an age may be; None for `indefinite`."""
    found = _AGE.fullmatch(age)
    return int(found[1]) * _DAYS[found[2]] if found else None


class TimescaleConfig(PgConfig):
    """A database, how long its points and rollups are kept, and when days are compressed.

    A rollup is kept at least as long as what it is made from.
    """

    keep_raw: Age = "90 days"
    keep_hourly: Age = "2 years"
    keep_daily: Age = "5 years"
    compress_after: Age = "7 days"

    @field_validator("keep_raw")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        days = days_of(value)
        if days is not None and days < _RAW_DAYS_AT_LEAST:
            raise ValueError(
                f"raw points are kept {_RAW_DAYS_AT_LEAST} days at least, so that days can be"
                f" aggregated before their points go, got {value!r}"
            )
        return value

    @classmethod
    def of(cls, config: PgConfig, **chosen: str | None) -> TimescaleConfig:
        """The same place with the rules that are `chosen`, fields of this class; else its own.

        Raises ConfigError for an age that is none or too short.
        """
        if isinstance(config, cls) and not chosen:
            return config
        rules = {name: value for name, value in chosen.items() if value is not None}
        return cls._made({**dict(config), **rules})

    def routed(self, retention: str | Mapping[str, str]) -> TimescaleConfig:
        """The same configuration; what was not chosen in it is kept as the routing table says.

        That names `raw`, `hourly` and `daily`, or one age for all three.
        """
        levels = ("raw", "hourly", "daily")
        table = dict.fromkeys(levels, retention) if isinstance(retention, str) else retention
        ages = {f"keep_{name}": table[name] for name in levels if name in table}
        return self._made({**ages, **self.model_dump(exclude_unset=True)})

    @classmethod
    def _made(cls, fields: dict[str, Any]) -> TimescaleConfig:
        try:
            return cls.model_validate(fields)
        except PydanticError as error:
            text = "; ".join(
                f"NEO_METRICS_{p.field.removeprefix('keep_').upper()} {p.reason}"
                for p in problems_of(error)
            )
            raise ConfigError(f"retention of metrics, by settings or routing: {text}") from None

    def kept(self) -> dict[str, str]:
        """How long `raw`, `hourly` and `daily` are kept in effect."""
        hourly = _longer(self.keep_hourly, self.keep_raw)
        return {
            "raw": self.keep_raw,
            "hourly": hourly,
            "daily": _longer(self.keep_daily, hourly),
        }


def _longer(age: str, other: str) -> str:
    mine, theirs = days_of(age), days_of(other)
    return age if mine is None or (theirs is not None and mine >= theirs) else other
