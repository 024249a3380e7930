"""Metrics in the protocols that their senders speak: remote write and line protocol."""

from __future__ import annotations

from email.message import Message
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel

from neo_polystore.api.dependencies import CurrentPolystore
from neo_polystore.api.errors import problem_of, status_of
from neo_polystore.api.ingestion import Ingestion, now
from neo_polystore.api.responses import PROBLEM_TYPE, Problem, json_response, problem_response
from neo_polystore.errors import PolystoreError, UsageError
from neo_polystore.polystore import Polystore
from neo_polystore.protocols.compression import gzip_content, snappy_block
from neo_polystore.protocols.errors import UnsupportedContentError
from neo_polystore.protocols.line_protocol import PRECISIONS, read_lines
from neo_polystore.protocols.outcome import LinesOutcome, RequestOutcome
from neo_polystore.protocols.remote_write import Decoded
from neo_polystore.protocols.screen import screened

router = APIRouter(tags=["metrics"])

VERSION_1: Final = "prometheus.WriteRequest"
VERSION_2: Final = "io.prometheus.write.v2.Request"

_WRITTEN: Final = "X-Prometheus-Remote-Write-{}-Written"
_PROBLEM: Final[dict[str, Any]] = {"model": Problem}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    400: {**_PROBLEM, "description": "Malformed, or a part was not stored; the rest was"},
    413: {**_PROBLEM, "description": "Larger than the settings allow"},
    415: {**_PROBLEM, "description": "Another content type or encoding"},
    429: {**_PROBLEM, "description": "Too many requests at once"},
    503: {**_PROBLEM, "description": "The store cannot be reached; send it again"},
}


class LineError(BaseModel):
    """An error as InfluxDB's clients expect it; `line` and `rejected` where lines are at fault."""

    code: str
    message: str
    line: int | None = None
    rejected: list[dict[str, Any]] | None = None


# what refuses before the route is reached answers with a problem document here as well
_OF_LINES: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "model": LineError,
        "content": {PROBLEM_TYPE: {"schema": Problem.model_json_schema()}},
        "description": told["description"],
    }
    for status, told in {
        **_RESPONSES,
        422: {"description": "Some lines were not stored; the others were"},
    }.items()
}


async def _ingestion(request: Request) -> Ingestion:  # a plain function would take a thread
    ingestion: Ingestion = request.app.state.ingestion
    return ingestion


CurrentIngestion = Annotated[Ingestion, Depends(_ingestion)]


@router.post(
    "/api/v1/write",
    status_code=204,
    response_class=Response,
    responses=_RESPONSES,
    summary="Prometheus remote write 1.0 and 2.0",
)
async def remote_write(
    request: Request, polystore: CurrentPolystore, ingestion: CurrentIngestion
) -> Response:
    """A snappy block of `prometheus.WriteRequest` or `io.prometheus.write.v2.Request`.

    Samples are stored; native histograms and exemplars are not: a request that has any is
    answered 400 after its samples were stored. Headers tell how many were.
    """
    outcome = RequestOutcome()
    try:
        response = await _remote_write(request, polystore, ingestion, outcome)
    except PolystoreError as error:
        response = problem_of(error, request.url.path)
    for what, written in (("Samples", outcome.written), ("Histograms", 0), ("Exemplars", 0)):
        response.headers[_WRITTEN.format(what)] = str(written)
    return response


async def _remote_write(
    request: Request, polystore: Polystore, ingestion: Ingestion, outcome: RequestOutcome
) -> Response:
    version_1 = _is_version_1(request)

    def decode(body: bytes) -> Decoded:
        content = snappy_block(body, most=ingestion.limits.content_bytes)
        decoder = ingestion.remote_write
        return (decoder.version_1 if version_1 else decoder.version_2)(content)

    with ingestion.turn():
        decoded = await ingestion.decode(decode, await ingestion.body(request))
        columns, kept, late = screened(decoded.columns, ingestion.limits, now=now())
        outcome.take(decoded, late)
        outcome.stored(kept, await polystore.metrics.write_columns(columns))
    if outcome.is_complete():
        return Response(status_code=204)
    return problem_response(
        status=400, title="Partial write", detail=outcome.told(), instance=request.url.path
    )


def _is_version_1(request: Request) -> bool:
    """Which message the body is, by its headers; raises UnsupportedContentError."""
    given = Message()
    given["content-type"] = request.headers.get("content-type", "")
    kind, message = given.get_content_type(), given.get_param("proto", VERSION_1)
    if not request.headers.get("content-type") or kind != "application/x-protobuf":
        raise UnsupportedContentError(f"content type {kind!r}: expected application/x-protobuf")
    if message not in (VERSION_1, VERSION_2):
        raise UnsupportedContentError(
            f"message {str(message)[:100]!r}: expected proto={VERSION_1} or proto={VERSION_2}"
        )
    encoding = request.headers.get("content-encoding", "")
    if encoding.strip().lower() != "snappy":
        raise UnsupportedContentError(f"content encoding {encoding[:40]!r}: expected snappy")
    return message == VERSION_1


@router.post(
    "/api/v2/write",
    status_code=204,
    response_class=Response,
    responses=_OF_LINES,
    summary="InfluxDB line protocol",
)
async def write_lines(
    request: Request,
    polystore: CurrentPolystore,
    ingestion: CurrentIngestion,
    precision: Annotated[str, Query(description="`ns`, `us`, `ms` or `s`")] = "ns",
    bucket: Annotated[
        str, Query(description="the service of lines that no tag gives one", max_length=255)
    ] = "",
    org: Annotated[str, Query(description="accepted, without a meaning here")] = "",
) -> Response:
    """Lines of measurement, tags, fields and time; plain or gzip.

    400 where none of the lines was stored, 422 where some were; both name the rejected lines.
    """
    try:
        return await _write_lines(request, polystore, ingestion, precision, bucket)
    except PolystoreError as error:
        status = status_of(error)
        return _influx_error(status, error.message)


async def _write_lines(
    request: Request, polystore: Polystore, ingestion: Ingestion, precision: str, bucket: str
) -> Response:
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision[:20]!r}: expected {', '.join(PRECISIONS)}")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("gzip", "identity", ""):
        raise UnsupportedContentError(f"content encoding {encoding[:40]!r}: expected gzip or none")
    received = now()

    def decode(body: bytes) -> LinesOutcome:
        if encoding == "gzip":
            body = gzip_content(body, most=ingestion.limits.content_bytes)
        lines = read_lines(
            body, ingestion.naming, precision=precision, now=received, default=bucket
        )
        return LinesOutcome(lines)

    with ingestion.turn():
        outcome = await ingestion.decode(decode, await ingestion.body(request))
        columns, kept, late = screened(outcome.columns, ingestion.limits, now=received)
        outcome.late(late)
        outcome.stored(kept, await polystore.metrics.write_columns(columns))
    if outcome.is_complete():
        return Response(status_code=204)
    return _influx_error(422 if outcome.written else 400, outcome.told(), outcome.lines())


_CODES: Final = {
    400: "invalid",
    413: "request too large",
    415: "invalid",
    422: "unprocessable entity",
    429: "too many requests",
    503: "unavailable",
}


def _influx_error(
    status: int, message: str, lines: list[dict[str, object]] | None = None
) -> Response:
    """An error as InfluxDB's clients expect it, with the rejected lines as an extension."""
    content: dict[str, object] = {"code": _CODES.get(status, "internal error"), "message": message}
    if lines:
        content |= {"line": lines[0]["line"], "rejected": lines}
    response = json_response(content, status)
    if status in (429, 503):
        response.headers["Retry-After"] = "1"
    return response
