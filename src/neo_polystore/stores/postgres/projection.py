"""Reads some fields of records straight into a model of the caller's, without making records."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import UsageError
from neo_polystore.pgkit.select import page_sql
from neo_polystore.records.base import Record
from neo_polystore.records.query import Query, encode_cursor
from neo_polystore.records.results import Page
from neo_polystore.stores.postgres.base import PgRecords, exact

R = TypeVar("R", bound=Record)
M = TypeVar("M")


async def project(records: PgRecords[Any], query: Query, model: type[M]) -> Page[M]:
    """One page of the query in `model`, whose fields alone are selected.

    `model` is a pydantic model or a dataclass. Raises UsageError where it has a
    field that the records do not have, or of another type.
    """
    names = fields_of(model)
    selection = records.selection_for(query)
    unknown = [name for name in names if name not in selection.columns]
    if unknown or not names:
        raise UsageError(
            f"{selection.record.data_type} have no {', '.join(unknown) or 'projection on nothing'};"
            f" {model.__name__} may have {', '.join(selection.columns)}"
        )
    sql, arguments, cursor = page_sql(selection, query, names)
    rows = await records.fetch("project", sql, arguments)
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    after = encode_cursor([rows[-1][name] for name in cursor]) if more else None
    adapter: TypeAdapter[M] = _adapter(cast("Any", model))
    try:
        made = [adapter.validate_python({n: exact(row[n]) for n in names}) for row in rows]
    except PydanticError as error:
        name = ".".join(str(part) for part in error.errors()[0]["loc"]) or model.__name__
        raise UsageError(
            f"{selection.record.data_type}: {model.__name__}.{name} is of another type"
            f" than the records' ({error.errors()[0]['msg']})"
        ) from None
    return Page(made, after)


def fields_of(model: type[Any]) -> tuple[str, ...]:
    """The names of a model's fields; UsageError for a type that has none."""
    if is_dataclass(model):
        return tuple(field.name for field in fields(model))
    if isinstance(model, type) and issubclass(model, BaseModel):
        return tuple(model.model_fields)
    raise UsageError(f"{model!r} is no pydantic model and no dataclass")


@lru_cache(maxsize=256)
def _adapter(model: Any) -> TypeAdapter[Any]:
    return TypeAdapter(model)
