"""Reads `mongo/<collection>.json`: the one source of a collection's validator, indexes and key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StringConstraints
from pydantic import ValidationError as PydanticError

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, FieldProblem
from neo_polystore.records.base import problems_of
from neo_polystore.records.rules import (
    ID,
    VERSION,
    Rule,
    field_name_problem,
    place_of,
    rule_problems,
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
"""Short enough that the names of a collection's indexes fit an SQL identifier of 63 bytes."""

FieldPath = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Index(BaseModel):
    """One index: fields in order with 1 (ascending), -1 (descending) or "text"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,100}$")]
    keys: tuple[tuple[FieldPath, Literal[1, -1, "text"]], ...] = Field(min_length=1)
    unique: bool = False

    @property
    def is_text(self) -> bool:
        """Whether it is searched by words."""
        return any(direction == "text" for _, direction in self.keys)


class _Validator(BaseModel):
    model_config = ConfigDict(extra="forbid")

    json_schema: dict[str, Any] = Field(alias="$jsonSchema")


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    collection: Name
    version: PositiveInt
    description: str = ""
    key: tuple[str, ...] = ()
    time_field: str | None = None
    text_field: str | None = None
    retention_days: PositiveInt | None = None
    derived: Literal["abi"] | None = None
    versioned: bool = False
    existing: Literal["must_fit", "may_break"] = "must_fit"
    validator: _Validator
    indexes: tuple[Index, ...] = ()


@dataclass(frozen=True, eq=False)
class Collection:
    """One file of `mongo/`. `validator` is the content of its `$jsonSchema`.

    `key` names the fields that make `_id`; without them `_id` is given or made. `retention` is
    how long documents are kept after their `time_field`; None: until somebody deletes them.
    `derived` names the fields that the record model makes from others (see `records/derived.py`).
    `versioned` collections keep what a document was before it was replaced. Where `may_break` is
    set, documents that are there already may break this version's validator.
    """

    name: str
    version: int
    validator: Rule
    indexes: tuple[Index, ...] = ()
    key: tuple[str, ...] = ()
    time_field: str | None = None
    text_field: str | None = None
    retention: timedelta | None = None
    derived: str | None = None
    versioned: bool = False
    may_break: bool = False
    description: str = ""

    def derived_id(self, body: dict[str, Any]) -> str | None:
        """`_id` from the key fields, joined by `:`; None without a key or where a part is missing.

        In every part but the last, `%` and `:` are percent-encoded, so that different keys never
        make the same `_id`.
        """
        parts = [body.get(name) for name in self.key]
        if not parts or not all(isinstance(part, str) for part in parts):
            return None
        *heads, last = map(str, parts)
        return ":".join([*(h.replace("%", "%25").replace(":", "%3A") for h in heads), last])


_added: list[Path] = []


def add_collections(folder: Path) -> None:
    """Have another folder's collections beside those that ship, in this process, from now on.

    Raises ConfigError, and adds nothing, where a file is not right or its collection is there
    already. The same folder again is no matter.
    """
    folder = folder.expanduser().absolute()
    if folder in _added:
        return
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder of collections (NEO_COLLECTIONS)")
    if both := sorted(collections().keys() & read_collections(folder).keys()):
        raise ConfigError(f"{folder / both[0]}.json: there is a collection {both[0]} already")
    _added.append(folder)


def folders() -> tuple[Path, ...]:
    """Where collections are read from: `mongo/`, then what was added."""
    return _shipped(), *_added


class Served:
    """The class attribute `serves` of an engine for documents: the names of all collections."""

    def __get__(self, _: object, __: object = None) -> frozenset[str]:
        return frozenset(collections())


@lru_cache
def _shipped() -> Path:
    return asset("mongo")


def collections() -> dict[str, Collection]:
    """The collections of all folders, by name; ConfigError naming a file that is not right."""
    return _of_folders(folders())


def added_names() -> set[str]:
    """The names of the collections that were added."""
    return {name for path in _added for name in _of_folders((path,))}


@lru_cache
def _of_folders(paths: tuple[Path, ...]) -> dict[str, Collection]:
    return {name: found for path in paths for name, found in read_collections(path).items()}


def read_collections(folder: Path) -> dict[str, Collection]:
    """The collections whose files are in `folder`, by name."""
    return {path.stem: read_collection(path) for path in sorted(folder.glob("*.json"))}


def read_collection(path: Path) -> Collection:
    """Read and check one file; raises ConfigError naming the file and every problem in it."""
    try:
        file = _File.model_validate(orjson.loads(path.read_bytes()))
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from None
    except PydanticError as error:
        raise _refused(path, problems_of(error)) from None
    found = Collection(
        name=file.collection,
        version=file.version,
        validator=file.validator.json_schema,
        indexes=file.indexes,
        key=file.key,
        time_field=file.time_field,
        text_field=file.text_field,
        retention=timedelta(days=file.retention_days) if file.retention_days else None,
        derived=file.derived,
        versioned=file.versioned,
        may_break=file.existing == "may_break",
        description=file.description,
    )
    if problems := rule_problems(found.validator) or _problems(found, path):
        raise _refused(path, problems)
    return found


def _refused(path: Path, problems: list[FieldProblem]) -> ConfigError:
    text = "; ".join(f"{problem.field}: {problem.reason}" for problem in problems)
    return ConfigError(f"{path}: not a collection file: {text}")


def _problems(found: Collection, path: Path) -> list[FieldProblem]:
    """What the parts of a file, each fine by itself, say against each other."""
    problems = []
    if found.name != path.stem:
        problems.append(
            FieldProblem("collection", f"the file of {found.name} is {found.name}.json")
        )
    if found.validator.get("bsonType") != "object":
        problems.append(FieldProblem("validator", 'a document is of bsonType "object"'))
    if found.validator.get("additionalProperties", True) is not True and ID not in (
        found.validator.get("properties", ())
    ):
        problems.append(FieldProblem("additionalProperties", "needs _id declared: it counts too"))
    if found.versioned and found.validator.get("additionalProperties", True) is not True:
        problems.append(FieldProblem("versioned", f"needs a validator that lets {VERSION} pass"))
    if found.retention and not found.time_field:
        problems.append(FieldProblem("retention_days", "needs a time_field"))
    required = set(found.validator.get("required", ()))
    wanted = [("key", name, "string", True) for name in found.key]
    wanted += [("time_field", name, "date", False) for name in [found.time_field] if name]
    wanted += [("text_field", name, "string", False) for name in [found.text_field] if name]
    for where, name, kind, always in wanted:
        if name == ID or "." in name or place_of(found.validator, name).kind != kind:
            problems.append(FieldProblem(where, f"{name!r} is not declared with bsonType {kind!r}"))
        if always and name not in required:
            problems.append(FieldProblem(where, f"{name!r} must be required"))
    problems += [
        FieldProblem(f"validator.properties.{name}", reason)
        for name in found.validator.get("properties", {})
        if (reason := field_name_problem(name))
    ]
    return problems + [
        problem for index in found.indexes for problem in _index_problems(found, index)
    ]


def _index_problems(found: Collection, index: Index) -> list[FieldProblem]:
    problems = []
    where = f"indexes.{index.name}"
    if [other.name for other in found.indexes].count(index.name) > 1:
        problems.append(FieldProblem(where, "two indexes have this name"))
    for name, direction in index.keys:
        place = place_of(found.validator, name)
        if place.kind is None and place.bson_type != "array":
            problems.append(FieldProblem(where, f"{name!r} is declared neither scalar nor array"))
        elif direction == "text" and (place.kind != "string" or place.many):
            problems.append(FieldProblem(where, f"{name!r} is no string, it cannot be searched"))
        elif index.unique and (direction == "text" or place.many or place.kind is None):
            problems.append(FieldProblem(where, f"{name!r} cannot be part of a unique index"))
    return problems
