"""ClickHouse's HTTP interface as an ASGI application over the chDB engine.

It serves what ClickHouse's own HTTP clients use: statements in the body, the query string or a
form, parameters, settings, sessions, inserts in any format and encoding, streamed results.
Responses are never compressed: on loopback that only costs time. Not served: external data
tables, the native compressed format (`decompress=1`) and `client_protocol_version`, which a
client finds out by itself.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from typing import IO, Any

from neo_polystore.embedded.clickhouse_answer import (
    Answer,
    Send,
    exception_block,
    result_summary,
    send_head,
    send_whole,
    summary,
)
from neo_polystore.embedded.clickhouse_body import peek
from neo_polystore.embedded.clickhouse_engine import Engine
from neo_polystore.embedded.clickhouse_errors import ClickHouseError, from_engine
from neo_polystore.embedded.clickhouse_handle import insert, run, stream
from neo_polystore.embedded.clickhouse_request import Request
from neo_polystore.embedded.clickhouse_statement import data_insert, has_result, trailing_format

Receive = Callable[[], Awaitable[dict[str, Any]]]

WORKERS = 16
_STATEMENT_LIMIT = 256 * 1024
_IN_MEMORY = 8 * 1024 * 1024
# Formats whose blocks can simply follow one another.
_STREAMABLE = {"Native", "TabSeparated", "TSV", "CSV", "RowBinary", "JSONEachRow"}
_SYNTAX_ERROR = 62


class ClickHouseApp:
    """The application; `close` ends the engine."""

    def __init__(self, engine: Engine, user: str, password: str) -> None:
        self._engine = engine
        self._user, self._password = user, password
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="clickhouse")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        request = Request.from_scope(scope)
        if request.path in ("/ping", "/") and not (request.options or scope["method"] == "POST"):
            await send_whole(send, Answer(b"Ok.\n"))
            return
        call = asyncio.get_running_loop().run_in_executor
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as body:
            try:
                request.authenticate(self._user, self._password)
                if not await self._read(receive, body):
                    return
                answer = await call(self._workers, self._answer, request, body)
            except ClickHouseError as error:
                answer = self._failure(error)
        answer.headers["X-ClickHouse-Query-Id"] = request.options.get("query_id", str(uuid.uuid4()))
        answer.headers["X-ClickHouse-Timezone"] = self._engine.timezone
        if answer.rest is None:
            await send_whole(send, answer)
            return
        try:
            await self._send_stream(receive, send, answer)
        finally:
            await call(self._workers, answer.held.close)

    async def _read(self, receive: Receive, body: IO[bytes]) -> bool:
        """Spool the body; False where the client went away before its end."""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            piece, more = message.get("body", b""), message.get("more_body", False)
            if body.tell() + len(piece) > _IN_MEMORY:
                await asyncio.to_thread(body.write, piece)
            else:
                body.write(piece)
        body.seek(0)
        return True

    def _answer(self, request: Request, raw: IO[bytes]) -> Answer:
        """Do what the request asks. Blocks; runs on a worker."""
        try:
            return self._execute(request, raw)
        except ClickHouseError:
            raise
        except Exception as error:
            raise from_engine(error) from error

    def _execute(self, request: Request, raw: IO[bytes]) -> Answer:
        front, rest = peek(request.body(raw), _STATEMENT_LIMIT)
        if not front and request.options.get("query"):  # It came in a form.
            front = request.options["query"].encode()
        context = request.context()
        rows = data_insert(front)
        if rows is not None:
            if request.parameters():
                raise ClickHouseError(48, "Parameters and inserted data cannot be combined")
            with self._engine.handle(context, b"INSERT") as handle:
                data = chain((front[rows.data_start :],), rest)
                result = insert(handle, rows.head, rows.format, data)
            numbers = {
                "written_rows": result.rows_written,
                "written_bytes": result.bytes_written,
                "elapsed_ns": int(result.elapsed * 1e9),
            }
            return Answer(headers={"X-ClickHouse-Summary": summary(numbers)})
        statement = front + b"".join(rest)
        if not statement.strip():
            raise ClickHouseError(_SYNTAX_ERROR, "Empty query. (SYNTAX_ERROR)")
        form = trailing_format(statement)
        if form in _STREAMABLE and has_result(statement) and not request.is_on("wait_end_of_query"):
            return self._stream(request, statement, form)
        with self._engine.handle(context, statement) as handle:
            # A statement with a result has a line of names even where it has no rows; one
            # without a result has none. Clients tell them apart by the format header.
            default = request.options.get("default_format") or "TabSeparatedWithNames"
            result = run(handle, statement, form or default, request.parameters())
        body = result.bytes() or b""
        answer = Answer(body, headers={"X-ClickHouse-Summary": result_summary(result)})
        if form or "default_format" in request.options:
            answer.headers["X-ClickHouse-Format"] = form or default
        elif body:
            answer.headers["X-ClickHouse-Format"] = "TabSeparated"
            answer.body = body[body.find(b"\n") + 1 :]
        return answer

    def _stream(self, request: Request, statement: bytes, form: str) -> Answer:
        """Run up to the first block, so that an early error still gets its own status."""
        with ExitStack() as stack:
            handle = stack.enter_context(self._engine.handle(request.context(), statement))
            blocks = stream(handle, statement, form, request.parameters())
            stack.callback(blocks.close)
            first = next(blocks, b"")
            headers = {
                "X-ClickHouse-Format": form,
                "X-ClickHouse-Exception-Tag": secrets.token_hex(8),
            }
            return Answer(first, headers=headers, rest=blocks, held=stack.pop_all())

    async def _send_stream(self, receive: Receive, send: Send, answer: Answer) -> None:
        gone = asyncio.ensure_future(receive())
        call = asyncio.get_running_loop().run_in_executor
        try:
            await send_head(send, answer)
            block: bytes | None = answer.body
            while block is not None and not gone.done():
                await send({"type": "http.response.body", "body": block, "more_body": True})
                try:
                    block = await call(self._workers, _next, answer.rest)
                except ClickHouseError as error:
                    block = None
                    tag = answer.headers["X-ClickHouse-Exception-Tag"]
                    last = exception_block(error, tag, self._engine.version)
                    await send({"type": "http.response.body", "body": last, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()

    def _failure(self, error: ClickHouseError) -> Answer:
        headers = {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return Answer(error.body(self._engine.version), error.status, headers)

    def close(self) -> None:
        """Drop what waits, close the engine. A statement that still runs ends with the process."""
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._engine.close()


def _next(blocks: Iterator[bytes] | None) -> bytes | None:
    return next(blocks, None) if blocks is not None else None
