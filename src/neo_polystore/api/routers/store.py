"""Records over HTTP: write batches, read one, query pages, for every record data type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.bodies import Item, read_items
from neo_polystore.api.dependencies import CurrentPolystore, CurrentScope
from neo_polystore.api.responses import Problem, json_response, problem_response
from neo_polystore.errors import ConflictError, NotFoundError, UsageError, ValidationError
from neo_polystore.ops.background import operational, process_name
from neo_polystore.polystore import Polystore
from neo_polystore.ports.records import Deleting, Records
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_types
from neo_polystore.records.query import (
    MAX_LIMIT,
    jsonable,
    parse_condition,
    parse_order,
    parse_time,
)
from neo_polystore.records.query import Query as RecordQuery
from neo_polystore.records.results import Written
from neo_polystore.records.scope import Scope
from neo_polystore.samples import samples

router = APIRouter(prefix="/api/store", tags=["store"])

BATCH = 1_000
MAX_REJECTIONS = 1_000

DELETING = 30.0
"""Seconds for which new holds are kept out while a record is deleted."""


@dataclass
class Outcome:
    """The sum of the batches of one request."""

    read: int = 0
    written: Written = field(default_factory=Written)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    rejections: int = 0

    def reject(self, record: int, field: str, reason: str) -> None:
        """Count a rejection and keep it, up to `MAX_REJECTIONS`."""
        self.rejections += 1
        if len(self.rejected) < MAX_REJECTIONS:
            self.rejected.append({"record": record, "field": field, "reason": reason})

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "read": self.read,
            "new": self.written.new,
            "existing": self.written.existing,
            "replaced": self.written.replaced,
            "consistency": self.written.consistency,
            "rejected": self.rejected,
            "rejections": self.rejections,
        }


class SearchParameters(BaseModel):
    """The query string of a search; see `records.query`."""

    model_config = ConfigDict(extra="forbid")

    where: list[str] = Field([], description="`field=value`; also `!=` `<` `<=` `>` `>=` `^=`")
    since: str | None = Field(None, description="ISO 8601 time, or an age such as `24h`")
    until: str | None = Field(None, description="ISO 8601 time or age, exclusive")
    text: str | None = Field(None, description="words that must all be there")
    order: str | None = Field(None, description="`field`, or `-field` for descending")
    limit: int = Field(100, ge=1, le=MAX_LIMIT)
    after: str | None = Field(None, description="`next` of the page before")
    count: bool = Field(False, description="answer only how many")
    sum: str | None = Field(None, description="answer only the sum of this field")
    distinct: str | None = Field(None, description="answer only the values of this field")

    def query(self, record: type[Record]) -> RecordQuery:
        """The typed query; UsageError for what does not fit the record."""
        if sum(map(bool, (self.count, self.sum, self.distinct))) > 1:
            raise UsageError("ask for one of count, sum and distinct")
        ordering, descending = parse_order(record, self.order) if self.order else (None, False)
        return RecordQuery(
            filters=tuple(parse_condition(record, condition) for condition in self.where),
            since=parse_time(self.since) if self.since else None,
            until=parse_time(self.until) if self.until else None,
            text=self.text,
            order=ordering,
            descending=descending,
            limit=self.limit,
            after=self.after,
        )


DataType = Annotated[
    str,
    Path(
        description="A data type that holds records.",
        examples=["transactions"],
        json_schema_extra={"enum": sorted(record_types())},
    ),
]
Key = Annotated[
    str, Path(description="The record's key.", examples=[samples("transactions")[0].key])
]
_PROBLEM: dict[str, Any] = {"model": Problem}


def _body() -> dict[str, Any]:
    """The request body's description: one schema and one example per data type."""
    schemas, examples = [], {}
    for data_type, model in record_types().items():
        schemas.append({"type": "array", "title": data_type, "items": model.model_json_schema()})
        examples[data_type] = {"value": [_dump(sample) for sample in samples(data_type)[:2]]}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": schemas}, "examples": examples},
            "application/x-ndjson": {"schema": {"type": "string"}},
        },
    }


def _outcome(**changes: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"example": {**Outcome(read=2).as_dict(), **changes}}}}


def _dump(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", by_alias=True, exclude_none=True)


def _records(polystore: Polystore, data_type: str, scope: Scope) -> Records[Any]:
    if data_type not in record_types():
        known = ", ".join(sorted(record_types()))
        raise NotFoundError(f"no data type {data_type!r} holds records; there are {known}")
    return polystore.records(data_type, scope)


WRITE_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "All are stored.", **_outcome(new=1, existing=1)},
    207: {
        "description": "Some are rejected, the rest is stored.",
        **_outcome(
            new=1,
            rejections=1,
            rejected=[{"record": 2, "field": "value", "reason": "expected a whole number"}],
        ),
    },
    400: {**_PROBLEM, "description": "The body cannot be read."},
    404: {**_PROBLEM, "description": "No such data type."},
    422: {**_PROBLEM, "description": "None could be stored."},
    503: {**_PROBLEM, "description": "The store cannot be reached."},
}
"""What a request that brings records is answered."""


@router.post(
    "/{data_type}",
    summary="Write records",
    openapi_extra={"requestBody": _body()},
    responses=WRITE_ANSWERS,
)
async def write(
    data_type: DataType, request: Request, polystore: CurrentPolystore, scope: CurrentScope
) -> Response:
    """Store a JSON array, one JSON object, or an NDJSON stream of records.

    Answers how many are new, existing, replaced and rejected, and for the rejected ones the
    record number (from 1), the field and the reason. The good records of a partly bad request
    are stored. The same request again adds nothing.
    """
    return await answer_write(_records(polystore, data_type, scope), request)


async def answer_write(port: Records[Any], request: Request, *, key: str | None = None) -> Response:
    """Store the records of the body, and say so; with `key` the one record that it has to be."""
    outcome = Outcome()
    batch: list[Item] = []
    async for item in read_items(request):
        if key is not None and item.number > 1:
            raise UsageError("one record has one key: the body has several records")
        batch.append(item)
        if len(batch) == BATCH:
            await _store(port, batch, outcome)
            batch = []
    await _store(port, batch, outcome, key=key)
    if key is not None and not outcome.read:
        raise UsageError("the body has no record")
    if outcome.rejections and outcome.rejections == outcome.read:
        return problem_response(
            status=422,
            title="Unprocessable Content",
            detail=f"none of the {outcome.read} records could be stored",
            instance=request.url.path,
            extensions=outcome.as_dict(),
        )
    return json_response(outcome.as_dict(), 207 if outcome.rejections else 200)


async def _store(
    port: Records[Any], batch: list[Item], outcome: Outcome, *, key: str | None = None
) -> None:
    good: list[tuple[int, Record]] = []
    for item in batch:
        outcome.read += 1
        if item.problem is not None:
            outcome.reject(item.number, "record", item.problem)
            continue
        try:
            record = port.record.parse(item.data)
            if key is not None and record.key != key:
                raise UsageError(f"the record's key is {record.key!r}, not that of the address")
            good.append((item.number, record))
        except ValidationError as error:
            outcome.reject(item.number, error.problems[0].field, error.problems[0].reason)
    if not good:
        return
    written = await port.write([record for _, record in good])
    for rejection in written.rejected:
        outcome.reject(good[rejection.index][0], rejection.field, rejection.reason)
    written.rejected = []
    outcome.written += written


@router.get(
    "/{data_type}",
    summary="Query records",
    responses={
        200: {
            "description": "A page of records.",
            "content": {
                "application/json": {
                    "example": {"records": [_dump(samples("transactions")[0])], "next": None}
                }
            },
        },
        400: {**_PROBLEM, "description": "An unknown field, a bad value, a foreign cursor."},
        404: {**_PROBLEM, "description": "No such data type."},
        503: {**_PROBLEM, "description": "The store cannot be reached."},
    },
)
async def search(
    data_type: DataType,
    parameters: Annotated[SearchParameters, Query()],
    polystore: CurrentPolystore,
    scope: CurrentScope,
) -> Response:
    """The records that satisfy all conditions, in pages that stay right while others write.

    `next` is null on the last page. `count`, `sum` and `distinct` answer `{"count": n}`,
    `{"sum": "digits"}` and `{"values": [...]}` in place of records.
    """
    port = _records(polystore, data_type, scope)
    query = parameters.query(port.record)
    if parameters.count:
        return json_response({"count": await port.count(query)})
    if parameters.sum:
        return json_response({"sum": str(await port.sum(query, parameters.sum))})
    if parameters.distinct:
        values = await port.distinct(query, parameters.distinct)
        return json_response({"values": [jsonable(value) for value in values]})
    page = await port.find(query)
    return json_response({"records": [_dump(record) for record in page], "next": page.next})


@router.get(
    "/{data_type}/{key:path}",
    summary="Read one record",
    responses={
        200: {
            "description": "The record.",
            "content": {"application/json": {"example": _dump(samples("transactions")[0])}},
        },
        404: {**_PROBLEM, "description": "No such data type, or no such record that is yours."},
        503: {**_PROBLEM, "description": "The store cannot be reached."},
    },
)
async def read(
    data_type: DataType,
    key: Key,
    polystore: CurrentPolystore,
    scope: CurrentScope,
) -> Response:
    """The record with this key, for instance `{chain_id}:{hash}` for a transaction."""
    record = await _records(polystore, data_type, scope).get(key)
    text = record.model_dump_json(by_alias=True, exclude_none=True)
    return Response(text, media_type="application/json")


@router.put(
    "/{data_type}/{key:path}",
    summary="Write one record",
    openapi_extra={"requestBody": _body()},
    responses={
        200: {"description": "It is stored.", **_outcome(read=1, new=1)},
        400: {**_PROBLEM, "description": "The body cannot be read, or has another key."},
        404: {**_PROBLEM, "description": "No such data type."},
        422: {**_PROBLEM, "description": "It cannot be stored."},
        503: {**_PROBLEM, "description": "The store cannot be reached."},
    },
)
async def put(
    data_type: DataType,
    key: Key,
    request: Request,
    polystore: CurrentPolystore,
    scope: CurrentScope,
) -> Response:
    """As `POST` of one record, whose key must be that of the address.

    Where a record of that key is stored, mutable data types replace it, and immutable ones keep
    what they have and count it as existing.
    """
    return await answer_write(_records(polystore, data_type, scope), request, key=key)


@router.delete(
    "/{data_type}/{key:path}",
    summary="Delete one record",
    status_code=204,
    response_class=Response,
    responses={
        204: {"description": "It is gone."},
        404: {**_PROBLEM, "description": "No such data type, or no such record that is yours."},
        405: {**_PROBLEM, "description": "Records of this data type go by retention alone."},
        409: {**_PROBLEM, "description": "It is held."},
        503: {**_PROBLEM, "description": "The store cannot be reached."},
    },
)
async def delete(
    data_type: DataType, key: Key, polystore: CurrentPolystore, scope: CurrentScope
) -> Response:
    """Objects and sealed blobs; what else is stored stays until its time is over."""
    port = _records(polystore, data_type, scope)
    if not isinstance(port, Deleting):
        raise HTTPException(
            405, f"records of {data_type} go by retention alone", headers={"Allow": "GET, PUT"}
        )
    holds = operational(polystore).holds
    holder = f"{process_name()} {uuid4()}"
    async with holds.deleting(data_type, holder=holder, seconds=DELETING) as standing:
        if standing.holds:
            raise ConflictError(f"there is a legal hold on {data_type}: nothing of it is deleted")
        await port.delete(key)
    return Response(status_code=204)
