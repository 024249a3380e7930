"""ClickHouse's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError, UsageError

STORE = "clickhouse"

# numbers of ClickHouse's ErrorCodes.cpp
_ACCESS = {192, 193, 194, 497, 516}
_NOT_MIGRATED = {16, 60, 81}
_BAD_VALUE = {6, 26, 27, 38, 41, 53, 69, 72, 131, 376, 407, 457}


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn clickhouse-connect's and the network's exceptions into PolystoreErrors."""
    try:
        yield
    except (ClickHouseError, HTTPError, OSError) as error:
        raise _translate(error, operation) from error


def _translate(error: Exception, operation: str) -> PolystoreError:
    code = getattr(error, "code", None)
    text = _first_line(str(error))
    if code in _ACCESS:
        return ConfigError(f"the server refused: {text}", store=STORE, operation=operation)
    if code in _NOT_MIGRATED:
        return ConfigError(
            f"{text}: run `neo-polystore db migrate`", store=STORE, operation=operation
        )
    if code in _BAD_VALUE:
        return UsageError(text, store=STORE, operation=operation)
    return UnavailableError(text, store=STORE, operation=operation)


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 300 else line[:297] + "..."
