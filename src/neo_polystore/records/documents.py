"""Documents: records whose fields a collection's validator declares (`mongo/<collection>.json`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field, create_model, model_validator

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError
from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text, Utc


@dataclass(frozen=True)
class Collection:
    """One file of `mongo/`: the validator, the indexes and what identifies a document.

    `key` names the fields that make `_id`, joined by `:`; without them `_id` is given or made.
    """

    name: str
    version: int
    validator: dict[str, Any]
    indexes: list[dict[str, Any]]
    key: tuple[str, ...] = ()
    time_field: str | None = None
    text_field: str | None = None
    retention: timedelta | None = None
    path: Path = field(default=Path(), compare=False)


class Document(Record):
    """A document of one collection. Fields that the validator does not name are kept as given."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    collection: ClassVar[Collection]

    id: Text = Field(alias="_id", min_length=1, max_length=1024)

    @model_validator(mode="before")
    @classmethod
    def _make_id(cls, data: Any) -> Any:
        """Give a document its `_id` from the collection's key fields, or a new one."""
        if not isinstance(data, dict) or "_id" in data or "id" in data:
            return data
        parts = [data.get(name) for name in cls.collection.key]
        if all(isinstance(part, str) for part in parts):
            return {**data, "_id": ":".join(map(str, parts)) if parts else str(uuid7())}
        return {**data, "_id": "?"}  # a key field is missing: its own problem says so

    @property
    def key(self) -> str:
        """The `_id`."""
        return self.id

    def body(self) -> dict[str, Any]:
        """The document as stores keep it: `_id` and every field that is present."""
        return self.model_dump(by_alias=True, exclude_none=True)


_TYPES: dict[str, Any] = {
    "string": Text,
    "date": Utc,
    "bool": bool,
    "int": int,
    "long": int,
    "double": float,
    "object": dict[str, Any],
    "array": list[Any],
}


@lru_cache
def collections() -> dict[str, Collection]:
    """The collections of `mongo/`, by name; raises ConfigError naming a file that is not right."""
    return {
        found.name: found for found in map(_read_collection, sorted(asset("mongo").glob("*.json")))
    }


@lru_cache
def document_models() -> dict[str, type[Document]]:
    """A record model per collection, made from its validator."""
    return {name: _model(collection) for name, collection in collections().items()}


def _read_collection(path: Path) -> Collection:
    try:
        data = orjson.loads(path.read_bytes())
        days = data.get("retention_days")
        return Collection(
            name=data["collection"],
            version=data["version"],
            validator=data["validator"]["$jsonSchema"],
            indexes=data["indexes"],
            key=tuple(data.get("key", ())),
            time_field=data.get("time_field"),
            text_field=data.get("text_field"),
            retention=timedelta(days=days) if days else None,
            path=path,
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: not a collection file: {error!r}") from error


def _model(collection: Collection) -> type[Document]:
    required = set(collection.validator.get("required", ()))
    fields: dict[str, Any] = {}
    for name, rule in collection.validator.get("properties", {}).items():
        if name == "_id":
            continue
        kind = Literal[tuple(rule["enum"])] if "enum" in rule else _TYPES[rule["bsonType"]]
        fields[name] = (kind, ...) if name in required else (kind | None, None)
    model = create_model(
        "".join(part.title() for part in collection.name.split("_")),
        __base__=Document,
        __module__=__name__,
        __doc__=f"A document of `{collection.name}`; see `mongo/{collection.path.name}`.",
        **fields,
    )
    model.collection = collection
    model.data_type = collection.name
    model.time_field = collection.time_field
    model.text_field = collection.text_field
    return model
