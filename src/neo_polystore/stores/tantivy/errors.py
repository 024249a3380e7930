"""tantivy's and the file system's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from neo_polystore.errors import ConfigError, CorruptDataError, UnavailableError

STORE = "tantivy"


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn OSError and tantivy's ValueError into PolystoreErrors; let all others pass.

    tantivy knows one Python exception for everything, so its text decides.
    """
    try:
        yield
    except OSError as error:
        reason = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        raise UnavailableError(reason, store=STORE, operation=operation) from error
    except ValueError as error:
        text = str(error)
        lowered = text.lower()
        if "schema" in lowered:
            raise ConfigError(
                f"an index was made by another version of this package: {text}",
                store=STORE,
                operation=operation,
            ) from error
        if "corrupt" in lowered or "checksum" in lowered or "incompatible" in lowered:
            raise CorruptDataError(text, store=STORE, operation=operation) from error
        raise UnavailableError(text, store=STORE, operation=operation) from error
