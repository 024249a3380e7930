"""Where the log indexes are and how patient a writer is."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class TantivyConfig(BaseModel):
    """A directory of our own; it is made where it does not exist.

    `lock_timeout`: seconds that a batch waits for other processes' batches.
    `writer_memory`: bytes that a batch may fill before it becomes a segment (at least 15 MB).
    """

    model_config = ConfigDict(frozen=True)

    directory: Path
    lock_timeout: float = Field(default=60.0, gt=0)
    writer_memory: int = Field(default=50_000_000, ge=15_000_000)
