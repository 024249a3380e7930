"""Backs up a platform in a process of its own, which may be killed or run out of room.

`python -m tests.backup.running_process DATA_DIR TARGET PUTS LIMIT [RUN]`: dies by SIGKILL before
its put number PUTS (0: never); files may have LIMIT bytes (0: any); goes on with RUN.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import signal
import sys
from pathlib import Path

from neo_polystore.backup.run import Options, Progress, run_backup
from neo_polystore.backup.targets import DirectoryTarget
from neo_polystore.build import made_stores
from neo_polystore.errors import PolystoreError
from tests.backup.conftest import KEY, settings_in


class Dying(DirectoryTarget):
    """Is killed before one of its puts, whatever is under way in other threads."""

    def __init__(self, root: Path, puts: int):
        super().__init__(root)
        self._puts = puts
        self._count = itertools.count(1)

    def put(self, name: str, data: bytes) -> None:
        """Store, or die."""
        if next(self._count) == self._puts:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(name, data)


class Sent(Progress):
    """Adds up."""

    sent = 0
    stored = 0

    def advanced(self, content: int, stored: int, sent: int) -> None:
        """One part more."""
        self.sent += sent
        self.stored += stored


async def main(data_dir: str, root: str, puts: str, limit: str, run: str | None = None) -> int:
    """Back up the relational store and say what was sent."""
    if int(limit):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    sent = Sent()
    settings = settings_in(Path(data_dir))
    async with made_stores(settings, data_types=["accounts", "events"]) as (routing, stores):
        try:
            manifest = await run_backup(
                stores,
                routing,
                Dying(Path(root), int(puts)),
                key=KEY,
                options=Options(part_bytes=4096, resume=run),
                progress=sent,
            )
        except PolystoreError as error:
            print(error, file=sys.stderr)
            return error.exit_code
    print(manifest.id, sent.sent, sent.stored)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
