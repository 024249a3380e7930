"""Reads the policy: the routing table's retention, and a file that says otherwise for some."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import ConfigError
from neo_polystore.ports.retention_policy import INDEFINITE, Age, Policy, Rule
from neo_polystore.records.base import problems_of
from neo_polystore.records.collections import Collection, collections
from neo_polystore.routing import Route, RoutingTable

BY_ITSELF = {
    "ttl": "every key has its own time, and the engine removes it then",
    "lifecycle rule": "the buckets' own lifecycle rules, unless the policy file gives an age",
    INDEFINITE: "kept until somebody deletes it",
}
AGING = frozenset({"transactions", "events", "metrics", "logs", "analytics", "objects"})
"""What can age beside collections. Accounts, wallets and the like never do."""


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    data_type: str = Field(min_length=1)
    keep: str
    archive: bool | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: list[_Rule] = []


def load_policy(
    routing: RoutingTable, path: Path | None = None, *, bucket: str, cron: str
) -> Policy:
    """The rules in force, one per data type; `path` is a TOML file of `[[rule]]` tables.

    Raises ConfigError, naming rule and reason: an age that is none, zero or negative, two rules
    for a data type, a data type that is not routed or never ages.
    """
    overrides = {} if path is None else _overrides(path, routing)
    rules = {}
    for route in routing:
        name = route.data_type
        said = overrides.get(name)
        rule = _routed(route) if said is None else _said(route, said, f"policy {path}: {name}")
        rules[name] = rule
    return Policy(rules, bucket, cron)


def _overrides(path: Path, routing: RoutingTable) -> dict[str, _Rule]:
    try:
        content = _File.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise ConfigError(f"policy {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"policy {path}: {error}") from None
    except PydanticError as error:
        text = "; ".join(f"{p.field}: {p.reason}" for p in problems_of(error))
        raise ConfigError(f"policy {path}: {text}") from None
    found: dict[str, _Rule] = {}
    for rule in content.rule:
        if rule.data_type not in routing.routes:
            known = ", ".join(routing.routes)
            raise ConfigError(
                f"policy {path}: unknown data type {rule.data_type!r}; choose from {known}"
            )
        if rule.data_type in found:
            raise ConfigError(f"policy {path}: two rules for {rule.data_type}: keep one of them")
        found[rule.data_type] = rule
    return found


def _routed(route: Route) -> Rule:
    kept = route.retention
    if not isinstance(kept, str):
        text = ", ".join(f"{level} {age}" for level, age in kept.items())
        return _rule(route, text, None, "routing table", why="see NEO_METRICS_RAW and its like")
    collection = collections().get(route.data_type)
    if kept == "as configured":
        return _of_collection(route, collection)
    if kept in BY_ITSELF:
        return _rule(route, kept, None, "routing table", why=BY_ITSELF[kept])
    where = f"routing table: {route.data_type}"
    _check_ages(route, where)
    if collection is not None:
        _check_collection(collection, where)
    return _rule(route, kept, Age.parse(kept, where=where), "routing table")


def _of_collection(route: Route, collection: Collection | None) -> Rule:
    source = f"mongo/{route.data_type}.json"
    if collection is None or collection.retention is None:
        return _rule(route, INDEFINITE, None, source, why="its file names no retention_days")
    _check_collection(collection, source)
    age = Age(collection.retention.days, "day")
    return _rule(route, str(age), age, source)


def _said(route: Route, said: _Rule, where: str) -> Rule:
    if route.data_type == "metrics":
        raise ConfigError(
            f"{where}: metrics have a period for each resolution:"
            " set NEO_METRICS_RAW, NEO_METRICS_HOURLY and NEO_METRICS_DAILY"
        )
    if said.keep == INDEFINITE:
        return _rule(route, said.keep, None, "policy file", why=BY_ITSELF[INDEFINITE])
    _check_ages(route, where)
    archive = route.archive if said.archive is None else said.archive
    age = Age.parse(said.keep, where=where)
    if (collection := collections().get(route.data_type)) is not None:
        _check_collection(collection, where)
    if archive and route.data_type == "objects":
        raise ConfigError(
            f"{where}: objects are not archived: they would be copied to where"
            " they are; keep them longer"
        )
    return _rule(route, said.keep, age, "policy file", archive=archive)


def _rule(
    route: Route,
    keep: str,
    age: Age | None,
    source: str,
    *,
    why: str = "",
    archive: bool | None = None,
) -> Rule:
    archive = route.archive if archive is None else archive
    return Rule(route.data_type, route.primary, keep, age, source, archive and age is not None, why)


def _check_ages(route: Route, where: str) -> None:
    if route.data_type not in AGING and route.data_type not in collections():
        raise ConfigError(
            f"{where}: {route.data_type} never age, only 'indefinite' can be said of them"
            if route.data_type not in ("cache", "limits")
            else f"{where}: every key of {route.data_type} has a time of its own"
        )


def _check_collection(collection: Collection, where: str) -> None:
    if collection.time_field is None:
        raise ConfigError(
            f"{where}: {collection.name} has no time_field, so nobody knows how old a document is"
        )
    if collection.versioned:
        raise ConfigError(
            f"{where}: {collection.name} is versioned: the versions of a document would outlive it"
        )
