"""A process that writes numbered lines and reports on standard output what is acknowledged."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from neo_polystore.records.logs import LogEntry
from neo_polystore.stores.tantivy.config import TantivyConfig
from neo_polystore.stores.tantivy.store import TantivyStore


def line(name: str, number: int) -> LogEntry:
    """The entry of one number; the same for the same arguments."""
    return LogEntry(
        id=f"{name}:{number}",
        timestamp=datetime(2024, 1, 1, tzinfo=UTC),
        system=name,
        message=f"line {number} of {name}",
    )


async def main(directory: str, name: str, batches: int, size: int) -> None:
    """Write `batches` batches of `size` lines."""
    store = TantivyStore(TantivyConfig(directory=Path(directory)))
    await store.connect()
    for batch in range(batches):
        written = await store.port("logs").write(
            [line(name, number) for number in range(batch * size, (batch + 1) * size)]
        )
        print(batch, written.new, flush=True)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
