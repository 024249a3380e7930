"""PostgreSQL's errors in our words: which constraint, which field, not the driver's text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from neo_polystore.errors import (
    ConfigError,
    ConflictError,
    PolystoreError,
    TenantRequiredError,
    UnavailableError,
    ValidationError,
)
from neo_polystore.pgkit.complaints import complaint


class SerializationError(ConflictError):
    """The transaction lost against a concurrent one and may simply be run again."""


@asynccontextmanager
async def translated(store: str, operation: str) -> AsyncIterator[None]:
    """Turn asyncpg's and the network's exceptions into PolystoreErrors; let all others pass."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise translate(error, store=store, operation=operation) from error


def translate(error: Exception, *, store: str, operation: str) -> PolystoreError:
    """The PolystoreError for one driver exception."""
    where = {"store": store, "operation": operation}
    if isinstance(error, asyncpg.SerializationError | asyncpg.DeadlockDetectedError):
        return SerializationError("lost against a concurrent transaction", **where)
    if isinstance(error, _REFUSED):
        problem = complaint(error)
        if isinstance(error, _CONFLICTS) or "still referred" in problem.reason:
            conflict = ConflictError(f"{problem.field} {problem.reason}", **where)
            conflict.problem = problem
            return conflict
        return ValidationError([problem], **where)
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        if "row-level security" in str(error):
            return TenantRequiredError(
                "the record belongs to a tenant and this call has none, or another one", **where
            )
        return ConfigError(f"the role lacks a privilege: {error.args[0]}", **where)
    if isinstance(
        error, asyncpg.InvalidPasswordError | asyncpg.InvalidAuthorizationSpecificationError
    ):
        return ConfigError(f"the server refused the login: {error}", **where)
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
        return ConfigError(f"{error}: run `neo-polystore db migrate`", **where)
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return ConfigError(f"{error}: run `neo-polystore db migrate`", **where)
    if isinstance(error, _UNAVAILABLE):
        return UnavailableError(
            f"cannot reach the database: {error or type(error).__name__}", **where
        )
    return PolystoreError(str(error), **where)


_CONFLICTS = (asyncpg.UniqueViolationError, asyncpg.ExclusionViolationError)
_REFUSED = (
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.DataError,
    asyncpg.ProgramLimitExceededError,
)
_UNAVAILABLE = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server died in the middle of a statement
    OSError,
    TimeoutError,
)
DRIVER_ERRORS = (*_UNAVAILABLE, asyncpg.PostgresError)
