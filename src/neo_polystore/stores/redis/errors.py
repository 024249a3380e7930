"""redis-py's and the network's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as driver

from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError

STORE = "redis"

_REFUSED = (driver.AuthenticationError, driver.AuthorizationError, driver.NoPermissionError)
_UNAVAILABLE = (
    driver.ConnectionError,
    driver.TimeoutError,
    driver.BusyLoadingError,
    driver.OutOfMemoryError,
    driver.ReadOnlyError,
    driver.TryAgainError,
    driver.ClusterDownError,
    driver.ClusterError,
    driver.RedisClusterException,
    OSError,
    TimeoutError,
)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn driver and network exceptions into PolystoreErrors; let all others pass."""
    try:
        yield
    except (driver.RedisError, driver.RedisClusterException, OSError) as error:
        raise translate(error, operation) from error


def translate(error: Exception, operation: str) -> PolystoreError:
    """The PolystoreError for one driver exception."""
    where = {"store": STORE, "operation": operation}
    text = str(error) or type(error).__name__
    if isinstance(error, _REFUSED):
        return ConfigError(f"the server refused the login or a command: {text}", **where)
    if isinstance(error, _UNAVAILABLE) or text.startswith(("BUSY", "MISCONF", "MASTERDOWN")):
        return UnavailableError(f"cannot use the server: {text}", **where)
    return PolystoreError(text, **where)
