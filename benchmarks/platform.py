"""An embedded platform of a benchmark's own, in a directory that is removed afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from neo_polystore import Polystore, Settings, open_polystore


@asynccontextmanager
async def embedded_platform(
    data_types: Collection[str], **settings: Any
) -> AsyncIterator[Polystore]:
    """The facade over fresh embedded servers, only for these data types."""
    directory = Path(tempfile.mkdtemp(prefix="neo-polystore-bench-"))
    try:
        chosen = Settings(_env_file=None, neo_data_dir=directory, **settings)  # type: ignore[call-arg]
        async with open_polystore(chosen, data_types=data_types) as polystore:
            yield polystore
    finally:
        shutil.rmtree(directory, ignore_errors=True)
