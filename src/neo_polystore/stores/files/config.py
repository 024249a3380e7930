"""Which directory holds the objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class FilesConfig(BaseModel):
    """A directory of our own; it is made where it does not exist.

    `chunk_size` is in bytes: what is read or written at a time, and about what a stream takes in
    memory.
    """

    model_config = ConfigDict(frozen=True)

    directory: Path
    chunk_size: Annotated[int, Field(ge=4096)] = 1 << 20
