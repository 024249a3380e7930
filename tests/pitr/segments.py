"""WAL segments that nobody wrote: the header of the first page is right, the rest is noise."""

from __future__ import annotations

import random
import struct

from neo_polystore.pitr.names import Segment

SIZE = 1 << 20
SYSTEM = 7713169477417104269
MAGIC = 0xD118


def content(
    number: int,
    *,
    timeline: int = 1,
    seed: int = 0,
    system: int = SYSTEM,
    size: int = SIZE,
) -> bytes:
    """A segment of 1 MiB; another `seed` is another segment of the same name."""
    head = struct.pack("=HHIQI4xQII", MAGIC, 2, timeline, number * size, 0, system, size, 8192)
    noise = random.Random(seed * 1000 + number).randbytes(64 << 10)
    return head + noise + bytes(size - len(head) - len(noise))


def name(number: int, timeline: int = 1) -> str:
    """Its file's."""
    return Segment(timeline, number).name(SIZE)
