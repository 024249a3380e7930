"""The one table from errors to HTTP problems."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException

from neo_polystore import errors
from neo_polystore.api.responses import problem_response
from neo_polystore.protocols.errors import BusyError, TooLargeError, UnsupportedContentError

STATUS: tuple[tuple[type[errors.PolystoreError], HTTPStatus], ...] = (
    (errors.UnauthenticatedError, HTTPStatus.UNAUTHORIZED),
    (errors.ForbiddenError, HTTPStatus.FORBIDDEN),
    (errors.NotFoundError, HTTPStatus.NOT_FOUND),
    (errors.ConflictError, HTTPStatus.CONFLICT),
    (errors.ValidationError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedContentError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (errors.UsageError, HTTPStatus.BAD_REQUEST),
    (errors.LimitedError, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TenantRequiredError, HTTPStatus.FORBIDDEN),
    (errors.UnsupportedError, HTTPStatus.NOT_IMPLEMENTED),
    (BusyError, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.PolystoreError, HTTPStatus.INTERNAL_SERVER_ERROR),
)


def status_of(error: errors.PolystoreError) -> HTTPStatus:
    """The HTTP status of an error: the first row whose class it is."""
    return next(status for kind, status in STATUS if isinstance(error, kind))


def problem_of(error: errors.PolystoreError, instance: str) -> Response:
    """The problem document of an error; which store and operation, and each field's problem."""
    extensions: dict[str, Any] = {}
    if error.store:
        extensions["store"] = error.store
    if isinstance(error, errors.ValidationError):
        extensions["problems"] = [_plain(problem) for problem in error.problems]
    elif isinstance(error, errors.ConflictError) and error.problem is not None:
        extensions["problems"] = [_plain(error.problem)]
    status = status_of(error)
    return problem_response(
        status=status,
        title=status.phrase,
        detail=error.message,
        instance=instance,
        extensions=extensions,
    )


def http_problem(error: StarletteHTTPException, instance: str) -> Response:
    """The problem document of an error that names its status itself."""
    answer = problem_response(
        status=error.status_code,
        title=HTTPStatus(error.status_code).phrase,
        detail=str(error.detail),
        instance=instance,
    )
    answer.headers.update(error.headers or {})
    return answer


def unexpected(instance: str) -> Response:
    """The problem document of what nobody foresaw; it tells nothing of it."""
    return problem_response(
        status=500,
        title="Internal Server Error",
        detail="something failed that should not; the log has it under this X-Request-Id",
        instance=instance,
    )


def _plain(problem: errors.FieldProblem) -> dict[str, str]:
    """A field's problem without what is not known of it."""
    return {name: value for name, value in asdict(problem).items() if value is not None}


def install(app: FastAPI) -> None:
    """Answer every error of the application with a problem document."""

    @app.exception_handler(errors.PolystoreError)
    async def ours(request: Request, error: errors.PolystoreError) -> Response:
        return problem_of(error, request.url.path)

    @app.exception_handler(RequestValidationError)
    async def parameters(request: Request, error: RequestValidationError) -> Response:
        problems = [
            {"field": ".".join(str(part) for part in item["loc"][1:]), "reason": item["msg"]}
            for item in error.errors()
        ]
        return problem_response(
            status=422,
            title="Unprocessable Content",
            detail="; ".join(f"{item['field']}: {item['reason']}" for item in problems),
            instance=request.url.path,
            extensions={"problems": problems},
        )

    @app.exception_handler(StarletteHTTPException)
    async def plain(request: Request, error: HTTPException) -> Response:
        return http_problem(error, request.url.path)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, _: Exception) -> Response:
        return unexpected(request.url.path)  # and the framework raises it on
