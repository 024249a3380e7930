"""Files that a command writes."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from neo_polystore.errors import UsageError


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner reads: it has its whole content, or it is not there."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            os.link(partial, target)
        finally:
            partial.unlink()
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}") from None


def refuse_existing(target: Path | None) -> None:
    """UsageError where the file is there already."""
    if target is not None and target.exists():
        raise UsageError(f"{target} exists already")
