"""Reads of one record and writes of records, called without the framework in between.

These two are what a busy platform answers all day, and finding the route and solving its
dependencies took five times as long as the work itself. The handlers are those of
`routers/store.py`, and what they raise becomes the same problem documents; they declare nothing
that the framework would check.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Final

from fastapi import Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from neo_polystore.api.dependencies import principal_of
from neo_polystore.api.errors import http_problem, problem_of
from neo_polystore.api.routers import store
from neo_polystore.errors import PolystoreError
from neo_polystore.polystore import Polystore

_PREFIX: Final = f"{store.router.prefix}/"


@dataclass(frozen=True, slots=True)
class Template:
    """The route that was called, for those who count and record requests by it."""

    path: str


_READ: Final = Template(f"{_PREFIX}{{data_type}}/{{key:path}}")
_WRITE: Final = Template(f"{_PREFIX}{{data_type}}")


class Direct:
    """ASGI middleware next to the router, behind all that refuses."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the handler of the request, where it is one of those two, or go on."""
        path: str = scope.get("path", "")
        data_type, slash, key = path.removeprefix(_PREFIX).partition("/")
        if scope["type"] != "http" or not path.startswith(_PREFIX) or not data_type:
            await self._app(scope, receive, send)
        elif scope["method"] == "GET" and slash:
            request, polystore = _request(scope, receive, _READ)
            acting = principal_of(request).scope
            answer = store.read(data_type, key, polystore, acting)
            await (await _settled(answer, path))(scope, receive, send)
        elif scope["method"] == "POST" and not slash:
            request, polystore = _request(scope, receive, _WRITE)
            acting = principal_of(request).scope
            answer = store.write(data_type, request, polystore, acting)
            await (await _settled(answer, path))(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _request(scope: Scope, receive: Receive, route: Template) -> tuple[Request, Polystore]:
    scope["route"] = route
    return Request(scope, receive), scope["app"].state.polystore


async def _settled(answer: Awaitable[Response], path: str) -> Response:
    try:
        return await answer
    except PolystoreError as error:
        return problem_of(error, path)
    except HTTPException as error:
        return http_problem(error, path)
