"""botocore's and the network's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boto3.exceptions import Boto3Error
from botocore import exceptions as driver

from neo_polystore.errors import (
    ConfigError,
    FieldProblem,
    NotFoundError,
    PolystoreError,
    UnavailableError,
    ValidationError,
)

STORE = "s3"

_ABSENT = {"NoSuchKey", "NoSuchBucket", "NotFound", "404"}
_REFUSED = {
    "AccessDenied",
    "403",
    "Forbidden",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "AuthorizationHeaderMalformed",
}
_BAD_NAME = {"KeyTooLongError", "InvalidBucketName", "InvalidURI"}
_CREDENTIALS = (
    driver.NoCredentialsError,
    driver.PartialCredentialsError,
    driver.NoRegionError,
    driver.ProfileNotFound,
)


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn driver and network exceptions into PolystoreErrors; let all others pass."""
    try:
        yield
    except (driver.ClientError, driver.BotoCoreError, Boto3Error, OSError) as error:
        raise translate(error, operation) from error


def translate(error: Exception, operation: str) -> PolystoreError:
    """The PolystoreError for one driver exception."""
    where = {"store": STORE, "operation": operation}
    if isinstance(error, driver.ClientError):
        return _of_answer(error, operation)
    if isinstance(error, _CREDENTIALS):
        return ConfigError(f"{error}", **where)
    if isinstance(error, driver.ParamValidationError):
        return ValidationError([FieldProblem("name", str(error))], **where)
    return UnavailableError(f"cannot reach the service: {error}", **where)


def code_of(error: driver.ClientError) -> str:
    """The service's own code, such as NoSuchBucket."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _of_answer(error: driver.ClientError, operation: str) -> PolystoreError:
    where = {"store": STORE, "operation": operation}
    code = code_of(error)
    message = error.response.get("Error", {}).get("Message") or code
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _ABSENT:
        return NotFoundError(message, **where)
    if code in _REFUSED:
        return ConfigError(f"the service refused: {code}: {message}", **where)
    if code in _BAD_NAME:
        return ValidationError([FieldProblem("name", message)], **where)
    if status >= 500 or code in ("SlowDown", "RequestTimeout", "Throttling"):
        return UnavailableError(f"{code}: {message}", **where)
    return PolystoreError(f"{code}: {message}", **where)
