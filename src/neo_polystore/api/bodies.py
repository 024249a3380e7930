"""Reads request bodies: a JSON array, one JSON object, or a stream of NDJSON lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from neo_polystore.errors import UsageError
from neo_polystore.protocols.errors import TooLargeError

MAX_ARRAY = 64 * 2**20
"""Bytes of a JSON array (NDJSON has no such bound: it is read line by line)."""

MAX_LINE = 32 * 2**20


@dataclass(frozen=True, slots=True)
class Item:
    """One record of a body: its number from 1, and its JSON value or why it has none."""

    number: int
    data: Any = None
    problem: str | None = None


async def read_items(request: Request) -> AsyncIterator[Item]:
    """The records of the body in order; UsageError where the body as a whole cannot be read."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind in ("application/x-ndjson", "application/jsonl", "application/ndjson"):
        number = 0
        async for line in _lines(request):
            if line.strip():
                number += 1
                yield _item(number, line)
    elif kind == "application/json":
        for number, value in enumerate(_array(await _whole(request)), 1):
            yield Item(number, value)
    else:
        raise UsageError(
            f"content type {kind!r}: expected application/json or application/x-ndjson"
        )


def _item(number: int, line: bytes) -> Item:
    try:
        return Item(number, _parsed(line))
    except ValueError as error:
        return Item(number, problem=f"not JSON: {error}")


def _array(body: bytes) -> list[Any]:
    try:
        value = _parsed(body)
    except ValueError as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    return value if isinstance(value, list) else [value]


def _parsed(text: bytes) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if "hex escape" not in str(error):
            raise
    # half a surrogate pair is JSON nevertheless (RFC 8259, section 8.2): one record's trouble
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


async def _whole(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_ARRAY:
            raise TooLargeError(
                f"a JSON array may have {MAX_ARRAY >> 20} MiB: send NDJSON for more"
            )
    return bytes(body)


async def _lines(request: Request) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > MAX_LINE:
            raise TooLargeError(f"a line may have {MAX_LINE >> 20} MiB")
    yield rest
