"""The one error family: every engine translates its driver's exceptions into these."""

from __future__ import annotations

from dataclasses import dataclass


class PolystoreError(Exception):
    """Base of every error that this package raises on purpose.

    `store` names the engine and `operation` what it was doing, where they are known.
    """

    exit_code = 1

    def __init__(self, message: str, *, store: str | None = None, operation: str | None = None):
        super().__init__(message)
        self.message = message
        self.store = store
        self.operation = operation

    def __str__(self) -> str:
        where = ".".join(part for part in (self.store, self.operation) if part)
        return f"{where}: {self.message}" if where else self.message


class ConfigError(PolystoreError):
    """Settings, routing table or installation do not fit together; the message names the fix."""

    exit_code = 2


class UnsafeRoleError(ConfigError):
    """The database role would pass by row-level security; nothing may be served as it."""


class UsageError(PolystoreError):
    """The caller asked for something that does not exist: a field, an option, a data type."""

    exit_code = 2


class UnavailableError(PolystoreError):
    """A store cannot be reached or gave up; the same call may succeed later."""

    exit_code = 3


class LimitedError(PolystoreError):
    """A rate limit refuses the call; the message says which, and when to try again."""


class UnauthenticatedError(PolystoreError):
    """Nobody proves who the caller is, or what he sent proves nothing (any more)."""


class ForbiddenError(PolystoreError):
    """The caller is known and may not do this."""


class NotFoundError(PolystoreError):
    """No record, object or stream has this key (or none that the caller may see)."""


class ConflictError(PolystoreError):
    """The write contradicts what is stored: a taken key, a stale version.

    `problem` names the field, value and constraint, where it is one field's.
    """

    problem: FieldProblem | None = None


class UnsupportedError(PolystoreError):
    """The engine does not serve this data type or operation."""

    exit_code = 2


class CorruptDataError(PolystoreError):
    """What was read back is not what can have been written."""


class IntegrityError(PolystoreError):
    """A checksum or MAC does not match."""


class BackupError(PolystoreError):
    """A backup, or what is kept of one, cannot be made, used or trusted; the message says why."""


class TenantRequiredError(PolystoreError):
    """A tenant-owned record was written outside a tenant's scope."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of one record, in words for the person who sent it.

    `constraint` is the database's, where one was violated; `value` the one that is wrong, shortened
    and quoted, never that of a secret field.
    """

    field: str
    reason: str
    constraint: str | None = None
    value: str | None = None


class ValidationError(PolystoreError):
    """A record does not fit its model or its collection's validator."""

    def __init__(
        self,
        problems: list[FieldProblem],
        *,
        store: str | None = None,
        operation: str | None = None,
    ):
        text = "; ".join(f"{problem.field}: {problem.reason}" for problem in problems)
        super().__init__(text, store=store, operation=operation)
        self.problems = problems
