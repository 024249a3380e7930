"""How large a request's body may be and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import HTTPException, Response
from starlette.types import Message, Receive, Scope

from neo_polystore.api.responses import problem_response


@dataclass(frozen=True, slots=True)
class Bounds:
    """`most` bytes in `seconds` altogether; of a stream, any number, each part in `seconds`."""

    most: int
    seconds: float

    def refusal(self, scope: Scope) -> Response | None:
        """413 for a body whose stated length is too large, before any of it is read."""
        stated = next((v for n, v in scope["headers"] if n == b"content-length"), b"0")
        if not stated.isdigit() or int(stated) <= self.most:
            return None
        answer = problem_response(
            status=413, title="Content Too Large", detail=self._too_large, instance=scope["path"]
        )
        answer.headers["Connection"] = "close"
        return answer

    def received(self, receive: Receive, *, streams: bool) -> Receive:
        """`receive` within the bounds; HTTPException 413 or 408 beyond, and no more is read."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.seconds
        length, ended = 0, False

        async def bounded() -> Message:
            nonlocal length, ended
            if ended:
                return await receive()
            message = await _in_time(receive, loop.time() + self.seconds if streams else deadline)
            length += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if length > self.most and not streams:
                raise HTTPException(413, self._too_large, headers={"Connection": "close"})
            return message

        return bounded

    @property
    def _too_large(self) -> str:
        return f"the body is larger than {self.most:,} bytes (NEO_BODY_BYTES)"


def has_body(scope: Scope) -> bool:
    """Whether the request says that a body follows."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


async def _in_time(receive: Callable[[], Awaitable[Message]], deadline: float) -> Message:
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        raise HTTPException(
            408, "the body takes too long (NEO_BODY_SECONDS)", headers={"Connection": "close"}
        ) from None
