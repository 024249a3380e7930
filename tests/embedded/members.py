"""Members in other processes, for tests of what processes do to each other."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import neo_polystore
from neo_polystore.embedded import EmbeddedError, ServerAddress

_ROOT = Path(__file__).parents[2]
# Everything that this process imports, for another Python of the same version.
PYTHONPATH = os.pathsep.join(
    [str(Path(neo_polystore.__file__).parents[1]), *(p for p in sys.path if "-packages" in p)]
)


class Member:
    """A running `member_process`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def _say(self, line: str) -> str:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        return await self._hear()

    async def _hear(self) -> str:
        assert self._process.stdout
        answer = (await asyncio.wait_for(self._process.stdout.readline(), 60)).decode().strip()
        assert answer, "the member process ended"
        return answer

    async def ensure(self, server: str) -> ServerAddress:
        """As `Membership.ensure`, over there."""
        answer = json.loads(await self._say(f"ensure {server}"))
        if "error" in answer:
            raise EmbeddedError(answer["error"])
        return ServerAddress(**answer)

    async def leave(self) -> None:
        """As `Membership.leave`, over there."""
        assert await self._say("leave") == "left"

    async def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        await self._process.wait()


@asynccontextmanager
async def member(
    data_dir: Path, *, user: int | None = None, python: str = sys.executable
) -> AsyncIterator[Member]:
    """A member in another process, perhaps of another user; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        python,
        "-m",
        "tests.embedded.member_process",
        str(data_dir),
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        user=user,
        group=user,
        extra_groups=[] if user is not None else None,
    )
    one = Member(process)
    try:
        assert await one._hear() == "joined"
        yield one
    finally:
        if process.returncode is None:
            await one.kill()
        # Closes the pipes, which asyncio otherwise leaves to the garbage collector.
        await process.communicate()
