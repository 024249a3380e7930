"""The server's and the transport's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elastic_transport import TransportError

from neo_polystore.errors import ConfigError, PolystoreError, UnavailableError, UsageError

STORE = "elasticsearch"


@contextmanager
def translated(operation: str) -> Iterator[None]:
    """Turn what the transport raises into UnavailableError."""
    try:
        yield
    except (TransportError, OSError) as error:
        # what the transport says of it is often no more than its class
        causes = [str(each) for each in getattr(error, "errors", ())] or [str(error)]
        reason = f"{type(error).__name__}: {_short(causes[-1])}"
        raise UnavailableError(reason, store=STORE, operation=operation) from error


def refused(status: int, answer: Any, operation: str) -> PolystoreError:
    """What an answer that is no success means; `answer` is its body, decoded where it is JSON."""
    text = _short(_reason(answer)) or f"the server answered {status}"
    if status in (401, 403):
        return ConfigError(f"the server refused: {text}", store=STORE, operation=operation)
    if status in (400, 404, 405):
        return UsageError(text, store=STORE, operation=operation)
    return UnavailableError(f"{status}: {text}", store=STORE, operation=operation)


def _reason(answer: Any) -> str:
    """The innermost reason, which names the cause; the outer ones say only that there is one."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if not isinstance(error, dict):
        return str(error or "")
    causes = error.get("root_cause") or [error]
    found = causes[0]
    inner = found.get("caused_by") or error.get("caused_by") or {}
    parts = [found.get("type"), found.get("reason"), inner.get("reason")]
    return ": ".join(str(part) for part in parts if part)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:297] + "..."
