"""The distribution table: data type -> primary, cache, backup, retention."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic import ValidationError as PydanticError

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.records.base import problems_of
from neo_polystore.records.catalog import record_types
from neo_polystore.records.collections import added_names

UNRECORDED = ("cache", "limits")
"""Data types that hold no records, beside those of the catalog."""

_RETENTION = re.compile(
    r"indefinite|ttl|as configured|lifecycle rule|[1-9]\d* (day|week|month|year)s?"
)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    primary: str = Field(min_length=1)
    cache: str = ""
    backup: str = ""
    retention: str | dict[str, str]
    archive: bool = False

    @field_validator("retention")
    @classmethod
    def _known_form(cls, value: str | dict[str, str]) -> str | dict[str, str]:
        for age in value.values() if isinstance(value, dict) else [value]:
            if not _RETENTION.fullmatch(age):
                raise ValueError(f"expected an age such as '90 days' or 'indefinite', got {age!r}")
        return value


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    routes: dict[str, _Row]
    collections: _Row | None = None
    profiles: dict[str, dict[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Route:
    """Where one data type goes, engine names as they are in force in the profile."""

    data_type: str
    primary: str
    cache: str | None
    backup: str | None
    retention: str | Mapping[str, str]
    archive: bool = False


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The routes of one profile, in the order of the file."""

    profile: str
    routes: Mapping[str, Route]

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes.values())

    def __getitem__(self, data_type: str) -> Route:
        """The route of a data type; UsageError naming those there are. Nothing is defaulted."""
        try:
            return self.routes[data_type]
        except KeyError:
            known = ", ".join(self.routes)
            raise UsageError(
                f"unknown data type {data_type!r}; the routing table has {known}"
            ) from None


def load_routing(
    profile: str, path: Path | None = None, *, addressed: Collection[str] = ()
) -> RoutingTable:
    """Read and check the table; raises ConfigError naming the row that is wrong and the fix.

    The engines in `addressed` have a server of their own: nothing stands in for them.
    """
    path = path or asset("schemas/routing.toml")
    try:
        content = _File.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"routing table {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"routing table {path}: {error}") from None
    except PydanticError as error:
        text = "; ".join(f"{p.field}: {p.reason}" for p in problems_of(error))
        raise ConfigError(f"routing table {path}: {text}") from None
    rows = {**content.routes, **_added_collections(content)}
    _check_data_types(rows, path)
    substitutes = {
        name: other
        for name, other in content.profiles.get(profile, {}).items()
        if name not in addressed
    }

    def engine(name: str) -> str | None:
        return substitutes.get(name, name) or None

    return RoutingTable(
        profile,
        {
            name: Route(
                data_type=name,
                primary=substitutes.get(row.primary, row.primary),
                cache=engine(row.cache),
                backup=engine(row.backup),
                retention=row.retention,
                archive=row.archive,
            )
            for name, row in rows.items()
        },
    )


def _added_collections(content: _File) -> dict[str, _Row]:
    """The row of every collection that does not ship with the package and has none of its own."""
    if content.collections is None:
        return {}
    return dict.fromkeys(sorted(added_names() - set(content.routes)), content.collections)


def _check_data_types(rows: Mapping[str, _Row], path: Path) -> None:
    known = {*record_types(), *UNRECORDED}
    if unknown := sorted(set(rows) - known):
        raise ConfigError(
            f"routing table {path}: unknown data type {', '.join(map(repr, unknown))};"
            f" remove the row or choose from {', '.join(sorted(known))}"
        )
    if missing := sorted(known - set(rows)):
        raise ConfigError(
            f"routing table {path}: no row for {', '.join(map(repr, missing))};"
            " every data type needs one, nothing is routed by default"
        )
