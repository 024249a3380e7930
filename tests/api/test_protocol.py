"""uvicorn's protocol as we serve with it: how often an answer is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from neo_polystore.api.protocol import MOST, Gathering, patient


class Transport:
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written.append(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> str:
        return f"the {name}"


def gathering() -> tuple[Transport, Any]:
    transport: Any = Transport()
    return transport, Gathering(transport, asyncio.get_running_loop())


async def test_what_is_written_in_one_turn_of_the_loop_goes_out_at_once() -> None:
    transport, over = gathering()
    over.write(b"head")
    over.write(b"body")
    assert transport.written == []
    await asyncio.sleep(0)
    assert transport.written == [b"headbody"]
    over.write(b"more")
    await asyncio.sleep(0)
    assert transport.written == [b"headbody", b"more"]


async def test_no_more_than_a_little_waits() -> None:
    transport, over = gathering()
    over.write(b"head")
    over.write(b"x" * MOST)
    assert transport.written == [b"head", b"x" * MOST]
    over.write(b"y" * MOST)
    assert len(transport.written) == 2
    over.write(b"z")
    assert transport.written[2:] == [b"y" * MOST, b"z"]
    await asyncio.sleep(0)
    assert len(transport.written) == 4


async def test_closing_writes_what_waits_first_and_nothing_afterwards() -> None:
    transport, over = gathering()
    over.write(b"last")
    over.close()
    assert (transport.written, transport.closed, over.is_closing()) == ([b"last"], True, True)
    over.write(b"lost")
    await asyncio.sleep(0)
    assert transport.written == [b"last"]


async def test_what_waits_for_a_transport_that_is_lost_goes_nowhere() -> None:
    transport, over = gathering()
    over.write(b"lost")
    transport.close()
    await asyncio.sleep(0)
    assert transport.written == []


async def test_all_else_is_the_transports_own() -> None:
    _, over = gathering()
    assert over.get_extra_info("peername") == "the peername"


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=patient(5.0), lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@pytest.mark.parametrize("pieces", [1, 3])
async def test_an_answer_arrives_whole_whether_it_streams_or_not(
    pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = list[bytes]()
    write = Gathering._flush

    def noted(self: Any) -> None:
        if self._waiting:
            writes.append(b"".join(self._waiting))
        write(self)

    monkeypatch.setattr(Gathering, "_flush", noted)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for number in range(pieces):
            more = number + 1 < pieces
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": more})
            await asyncio.sleep(0.01)

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
    assert answer.count(b"x" * 100) == pieces
    assert answer == b"".join(writes)
    assert len(writes) == pieces


async def test_an_answer_waits_for_a_slow_reader_however_small_its_pieces_are() -> None:
    sent = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(200_000):
            await send({"type": "http.response.body", "body": b"x" * 100, "more_body": True})
            sent += 1
        await send({"type": "http.response.body", "body": b""})

    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        before = -1
        while before < sent or not sent:  # until nothing more goes out
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 200_000
        while await reader.read(1 << 20):
            pass
        writer.close()
        assert sent == 200_000
