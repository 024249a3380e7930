"""Documents: records whose fields a collection's validator declares (`mongo/<collection>.json`)."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, Self, Union

from pydantic import (
    AfterValidator,
    AwareDatetime,
    ConfigDict,
    Field,
    PlainSerializer,
    create_model,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core import ValidationError as PydanticError

from neo_polystore.errors import ConfigError
from neo_polystore.ids import uuid7
from neo_polystore.records.base import Record, Text
from neo_polystore.records.collections import Collection, collections, folders
from neo_polystore.records.derived import DERIVED
from neo_polystore.records.rules import ID, Rule
from neo_polystore.records.validators import check
from neo_polystore.records.values import DATE_MARK, has_year, mapped, marked, to_milliseconds


def _write_leaf(value: Any, rule: Rule) -> Any:
    return marked(value, rule) if isinstance(value, datetime) else value


def _written(rule: Rule) -> PlainSerializer:
    """How a value with others in it becomes JSON, so that it is read back as the same value."""
    return PlainSerializer(lambda value: mapped(value, rule, _write_leaf), when_used="json")


class Document(Record):
    """A document of one collection. Fields that the validator does not name are kept as given.

    A declared field that is None is absent, unless its rule allows null. Dates anywhere in it
    are cut to milliseconds, as BSON keeps them. Everything else that a document may hold is what
    JSON can: text, numbers of 64 bits, booleans, null, objects and arrays. As JSON, a date that
    nobody declared is `{"$date": text}`, and is read back from that.
    """

    model_config = ConfigDict(extra="allow", protected_namespaces=())

    collection: ClassVar[Collection]
    _declared: ClassVar[tuple[tuple[str, bool], ...]]
    """The fields that the validator declares, and whether each may be null."""

    __pydantic_extra__: dict[str, Annotated[Any, _written({})]]

    document_id: Text = Field(alias="_id", min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, data: Any) -> Any:
        """Make the `_id` that is not given, and read nested dates where the validator has some."""
        if not isinstance(data, dict):
            return data
        try:
            body = mapped(data, cls.collection.validator, _read_leaf)
        except RecursionError:
            body = dict(data)  # the check tells how deep it may be
        if cls.collection.derived is not None:
            body |= DERIVED[cls.collection.derived](body)
        if ID not in body:
            # without the key's parts the missing ones are the problem to report, not the _id
            body[ID] = cls.collection.derived_id(body) or str(uuid7())
        return body

    @model_validator(mode="after")
    def _check(self) -> Self:
        if problems := check(self.collection, self.body()):
            details = [
                InitErrorDetails(
                    type=PydanticCustomError("value_error", "{reason}", {"reason": problem.reason}),
                    loc=tuple(problem.field.split(".")),
                    input=None,
                )
                for problem in problems
            ]
            raise PydanticError.from_exception_data(type(self).__name__, details)
        return self

    @classmethod
    def stored(cls, body: dict[str, Any]) -> Self:
        """The record of a document as a store holds it, whatever the validator says by now."""
        declared = cls.__pydantic_fields__
        fields: dict[str, Any] = {}
        rest: dict[str, Any] = {}
        for name, value in body.items():
            if name == ID:
                fields["document_id"] = value
            elif name in declared and name != "document_id":
                fields[name] = value
            else:
                rest[name] = value
        document = cls.trusted(fields)
        object.__setattr__(document, "__pydantic_extra__", rest)
        return document

    @property
    def key(self) -> str:
        """The `_id`."""
        return self.document_id

    def body(self) -> dict[str, Any]:
        """The document as stores keep it: `_id` first, then every field that is present."""
        values = self.__dict__
        body = {ID: values.get("document_id")}
        for name, nullable in self._declared:
            value = values.get(name)
            if value is not None or (nullable and name in self.model_fields_set):
                body[name] = value
        return body | (self.__pydantic_extra__ or {})


def _read_leaf(value: Any, rule: Rule) -> Any:
    text = value.get(DATE_MARK) if isinstance(value, dict) else value
    if isinstance(text, str) and (text is not value or rule.get("bsonType") == "date"):
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return value
    if isinstance(value, datetime) and value.tzinfo is not None and has_year(value):
        return to_milliseconds(value)
    return value


_TYPES: dict[str, Any] = {
    "string": Text,
    "date": Annotated[AwareDatetime, AfterValidator(to_milliseconds)],
    "bool": bool,
    "int": int,
    "long": int,
    "double": float,
    "number": int | float,
    "object": dict[str, Any],
    "array": list[Any],
    "null": None,
}


def document_models() -> dict[str, type[Document]]:
    """A record model per collection, by name; ConfigError as `collections` has it."""
    return _models(folders())


@lru_cache
def _models(_: object) -> dict[str, type[Document]]:
    return {name: document_model(collection) for name, collection in collections().items()}


def document_model(collection: Collection) -> type[Document]:
    """Make the record model of one collection from its validator."""
    required = set(collection.validator.get("required", ()))
    fields: dict[str, Any] = {}
    declared = {n: r for n, r in collection.validator.get("properties", {}).items() if n != ID}
    for name, rule in declared.items():
        if name.startswith("_") or hasattr(Document, name) or name in Document.model_fields:
            raise ConfigError(
                f"mongo/{collection.name}.json: property {name!r} cannot be declared, records have"
                " an attribute of that name; leave it undeclared, it is kept all the same"
            )
        kind = _annotation(rule)
        fields[name] = (kind, ...) if name in required else (Union[kind, None], None)  # noqa: UP007
    model = create_model(
        "".join(part.title() for part in collection.name.split("_")),
        __base__=Document,
        __module__=__name__,
        __doc__=f"A document of `{collection.name}`. {collection.description}".strip(),
        **fields,
    )
    model.collection = collection
    model._declared = tuple((name, _null(rule)) for name, rule in declared.items())
    model.data_type = collection.name
    model.time_field = collection.time_field
    model.text_field = collection.text_field
    return model


def _annotation(rule: Rule) -> Any:
    """The Python type of a declared field; one that may be None has no order and no one type."""
    declared = rule.get("bsonType")
    if "enum" in rule and _null(rule) is False:
        return Literal[tuple(rule["enum"])]
    if declared in ("object", "array"):
        return Annotated[_TYPES[declared], _written(rule)]
    if isinstance(declared, str):
        return _TYPES[declared]
    return Union[(*(_TYPES[name] for name in declared), None)] if declared else Any | None


def _null(rule: Rule) -> bool:
    declared = rule.get("bsonType", ())
    return "null" in (declared if isinstance(declared, list) else [declared])
