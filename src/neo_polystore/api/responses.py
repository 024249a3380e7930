"""JSON answers and problem documents (RFC 9457)."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import Response
from pydantic import BaseModel

PROBLEM_TYPE = "application/problem+json"


class Problem(BaseModel):
    """A problem document (RFC 9457). `type` is `about:blank` where `title` says it all."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None


def json_response(data: Any, status: int = 200) -> Response:
    """An answer in JSON; times in ISO 8601."""
    return Response(orjson.dumps(data, default=str), status, media_type="application/json")


def keyed_page(name: str, rows: list[dict[str, Any]], limit: int) -> Response:
    """A page of rows in the order of their `data_key`; `next` is where the page after begins."""
    following = rows[-1]["data_key"] if len(rows) == limit else None
    return json_response({name: rows, "next": following})


def problem_response(
    *, status: int, title: str, detail: str, instance: str, extensions: dict[str, Any] | None = None
) -> Response:
    """A problem document; `extensions` are members of its own, such as `problems`."""
    problem = Problem(title=title, status=status, detail=detail, instance=instance)
    content = {**problem.model_dump(exclude_none=True), **(extensions or {})}
    headers = {"Retry-After": "1"} if status in (429, 503) else None
    return Response(orjson.dumps(content, default=str), status, headers, PROBLEM_TYPE)
