"""Fixtures of the embedded servers: data directories of one's own, and proof that nothing stays."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from neo_polystore.embedded import EmbeddedOptions, Membership
from tests.embedded.processes import left_overs

Join = Callable[..., Awaitable[Membership]]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that does not exist yet; afterwards no process may be left in it."""
    parent = Path(tempfile.mkdtemp(prefix="neo-embedded-"))
    yield parent / "data"
    deadline = time.monotonic() + 15
    while (found := left_overs(parent)) and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(parent, ignore_errors=True)
    assert not found, f"processes left behind: {found}"


@pytest_asyncio.fixture
async def join(data_dir: Path) -> AsyncIterator[Join]:
    """Joins the data directory; every membership is left at the end of the test."""
    members: list[Membership] = []

    async def become_member(options: EmbeddedOptions | None = None) -> Membership:
        members.append(await Membership.join(data_dir, options))
        return members[-1]

    yield become_member
    for member in members:
        await member.leave()


@pytest.fixture
def as_root() -> None:
    """Only root can change accounts."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it is about servers that run as another account")


async def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
