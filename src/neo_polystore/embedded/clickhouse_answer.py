"""What ClickHouse sends back: headers, summaries, and errors after the first rows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from neo_polystore.embedded.clickhouse_errors import ClickHouseError

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass
class Answer:
    """What goes back: all of it in `body`, or more to come from `rest` as it is computed."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    rest: Generator[bytes, None, None] | None = None
    held: ExitStack = field(default_factory=ExitStack)


def exception_block(error: ClickHouseError, tag: str, version: str) -> bytes:
    """How ClickHouse 25.11 and later report an error in the middle of a result.

    `tag` is the value of the header X-ClickHouse-Exception-Tag.
    """
    mark = tag.encode()
    text = error.body(version).rstrip(b"\n")
    head = b"__exception__\r\n%b\r\n%b\n" % (mark, text)
    return head + b"%d %b\r\n__exception__\r\n" % (len(text) + 1, mark)


def summary(values: dict[str, int]) -> str:
    """The value of X-ClickHouse-Summary."""
    return json.dumps({name: str(value) for name, value in values.items()})


def result_summary(result: Any) -> str:
    """The same, from the numbers of a chDB result."""
    return summary(
        {
            "read_rows": result.storage_rows_read(),
            "read_bytes": result.storage_bytes_read(),
            "written_rows": result.rows_written(),
            "written_bytes": result.bytes_written(),
            "result_rows": result.rows_read(),
            "result_bytes": result.bytes_read(),
            "elapsed_ns": int(result.elapsed() * 1e9),
        }
    )


async def send_head(send: Send, answer: Answer, length: int | None = None) -> None:
    """Status and headers; without a length the body goes in chunks."""
    headers = {
        "Content-Type": "text/plain; charset=UTF-8",
        "X-ClickHouse-Server-Display-Name": "neo-polystore",
        **answer.headers,
    }
    if length is not None:
        headers["Content-Length"] = str(length)
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})


async def send_whole(send: Send, answer: Answer) -> None:
    """An answer that is all there."""
    await send_head(send, answer, len(answer.body))
    await send({"type": "http.response.body", "body": answer.body})
