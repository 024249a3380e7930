"""A member in a process of its own, driven by lines on its standard input.

    python -m tests.embedded.member_process DATA_DIR

`ensure NAME` answers with the address as JSON, `leave` leaves and answers `left`, the end of the
input ends the process without leaving.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from neo_polystore.embedded import EmbeddedError, Membership


async def _main() -> None:
    membership = await Membership.join(Path(sys.argv[1]))
    print("joined", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        word, _, name = line.strip().partition(" ")
        if word == "ensure":
            try:
                print(json.dumps(asdict(await membership.ensure(name))), flush=True)
            except EmbeddedError as error:
                print(json.dumps({"error": str(error)}), flush=True)
        else:
            await membership.leave()
            print("left", flush=True)


asyncio.run(_main())
