"""What every line carries that is logged on behalf of a request: its ids, and who makes it.

One context variable for all of it, and a processor of structlog that puts it into lines.
structlog's own `contextvars` has a variable for each fact, which costs a busy API six times as
much; what anybody binds there is in the lines as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from typing import Final

from structlog.types import EventDict, WrappedLogger

Facts = dict[str, str | None]

_NOTHING: Final[Mapping[str, str | None]] = {}
_facts: ContextVar[Facts | None] = ContextVar("neo_polystore_log_context", default=None)


def begin(**facts: str | None) -> Token[Facts | None]:
    """Carry these from here on, with what is carried already, up to `end` of what is returned."""
    return _facts.set({**(_facts.get() or _NOTHING), **facts})


def add(facts: Mapping[str, str | None]) -> None:
    """Carry these too, up to the innermost `end`; outside of all `begin` nothing is."""
    if (carried := _facts.get()) is not None:
        carried.update(facts)


def end(token: Token[Facts | None]) -> None:
    """Carry what was carried before."""
    _facts.reset(token)


def merge(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The processor: what the line says itself comes first."""
    return {**(_facts.get() or _NOTHING), **event}
