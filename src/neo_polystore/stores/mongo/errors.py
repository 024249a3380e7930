"""PyMongo's errors in our words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bson.errors import BSONError
from pymongo import errors as driver

from neo_polystore.errors import (
    ConfigError,
    ConflictError,
    FieldProblem,
    PolystoreError,
    UnavailableError,
    ValidationError,
)

STORE = "mongo"

DUPLICATE_KEY, REFUSED_BY_VALIDATOR = 11000, 121
NAMESPACE_EXISTS, INDEX_DIFFERS = 48, (85, 86)
_NOT_ALLOWED = (13, 18, 8000)
_TRY_LATER = (50, 89, 91, 189, 262, 10107, 11600, 11602, 13435, 13436)
"""Out of time, or the server is shutting down, stepping down, or no primary."""


@asynccontextmanager
async def translated(operation: str) -> AsyncIterator[None]:
    """Turn the driver's exceptions into PolystoreErrors; let all others pass."""
    try:
        yield
    except (driver.PyMongoError, BSONError, OSError) as error:
        raise translate(error, operation=operation) from error


def translate(error: Exception, *, operation: str) -> PolystoreError:
    """The PolystoreError for one driver exception."""
    where = {"store": STORE, "operation": operation}
    code = error.code if isinstance(error, driver.OperationFailure) else None
    if isinstance(error, driver.ConfigurationError | driver.InvalidURI):
        return ConfigError(f"the connection string is not right: {error}", **where)
    if code in _NOT_ALLOWED:
        return ConfigError(f"the server refused the login or the command: {error}", **where)
    if code in _TRY_LATER or isinstance(error, driver.ConnectionFailure | OSError):
        return UnavailableError(f"cannot reach the server: {_first_line(error)}", **where)
    if isinstance(error, driver.WTimeoutError | driver.WriteConcernError):
        return UnavailableError(f"no majority has acknowledged the write: {error}", **where)
    if isinstance(error, driver.ExecutionTimeout | driver.InvalidOperation):
        return UnavailableError(_first_line(error), **where)
    if code == DUPLICATE_KEY:
        return ConflictError(f"already taken: {_first_line(error)}", **where)
    if code == REFUSED_BY_VALIDATOR or isinstance(
        error, driver.DocumentTooLarge | BSONError | driver.EncryptionError
    ):
        return ValidationError([FieldProblem("document", _first_line(error))], **where)
    return PolystoreError(_first_line(error), **where)


def _first_line(error: Exception) -> str:
    """The message without the topology that PyMongo appends over many lines."""
    text = str(error) or type(error).__name__
    return text.split(", Timeout:")[0].split(", full error:")[0].splitlines()[0]
