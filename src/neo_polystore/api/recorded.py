"""Records every changing request in the audit trail before its answer goes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neo_polystore.audit.trail import Action, AuditTrail, Origin
from neo_polystore.errors import PolystoreError

Which = Literal["all", "admin", "none"]

_ACTIONS: Final[Mapping[str, Action]] = {
    "POST": "CREATE",
    "PUT": "UPDATE",
    "PATCH": "UPDATE",
    "DELETE": "DELETE",
}
_ADMIN: Final = "/api/admin/"
_LONGEST: Final = 512

_logger = structlog.get_logger(__name__)


class Recorded:
    """Around an application whose router leaves the route that matched in the scope.

    An entry names the route (`resource`), the path (`resource_id`), the address, the request id
    and how it ended; its tenant, service and actor are those that the request proved. It is
    durable before the answer begins. Where it can be stored nowhere, the change has been made all
    the same, so the answer is not withheld; the failure is logged.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        trail: Callable[[Scope], AuditTrail | None],
        which: Which = "all",
        skip: frozenset[str] = frozenset(),
    ):
        self._app = app
        self._trail = trail
        self._which = which
        self._skip = skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and record the request where it is one that changes something."""
        if scope["type"] != "http" or not self._concerns(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        request_id: str = scope["state"]["request_id"]
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                await self._record(scope, message["status"], request_id)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if not begun:
                await self._record(scope, 500, request_id)

    def _concerns(self, method: str, path: str) -> bool:
        if method not in _ACTIONS or self._which == "none" or path in self._skip:
            return False
        return path.startswith(_ADMIN) if self._which == "admin" else path.startswith("/api/")

    async def _record(self, scope: Scope, status: int, request_id: str) -> None:
        route, trail = getattr(scope.get("route"), "path", None), self._trail(scope)
        if route is None or trail is None:
            return  # nothing answers there, or nothing records
        client = scope.get("client")
        try:
            await trail.record(
                "EXECUTE" if route.startswith(_ADMIN) else _ACTIONS[scope["method"]],
                route,
                scope["path"][:_LONGEST],
                error=None if status < 400 else f"HTTP {status}",
                origin=Origin(
                    request_id=request_id,
                    ip_address=client[0] if client else None,
                    user_agent=Headers(scope=scope).get("user-agent", "")[:_LONGEST] or None,
                ),
                details={"method": scope["method"], "status": status},
            )
        except PolystoreError as error:
            _logger.error(
                "request not recorded", route=route, request_id=request_id, why=str(error)
            )
