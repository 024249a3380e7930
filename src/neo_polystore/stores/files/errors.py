"""The file system's errors in our words."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from neo_polystore.errors import ConfigError, UnavailableError

STORE = "files"

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn OSError into PolystoreErrors: what a person must mend, and what may pass by itself."""
    try:
        yield
    except OSError as error:
        text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        kind = ConfigError if error.errno in _FORBIDDEN else UnavailableError
        raise kind(text, store=STORE, operation=operation) from error
