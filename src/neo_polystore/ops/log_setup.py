"""How this process logs: structlog's lines and the standard library's as one stream, by settings.

A line is a JSON object per event, or text for people where a terminal reads it. Whatever logs it,
it has time, level and logger, and within a request `request_id`, `trace_id`, `tenant`, `service`
and `user` (`log_context`). Secrets of the settings are masked wherever they stand.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable
from logging.handlers import WatchedFileHandler
from typing import Any, Final, TextIO

import structlog
from pydantic import SecretStr
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor, WrappedLogger

from neo_polystore.errors import ConfigError
from neo_polystore.ops import log_context
from neo_polystore.settings import Settings

MASK: Final = "********"
_SHORTEST: Final = 6
"""Shorter secrets are not looked for in texts: they would be found in ordinary words."""

_NAMES: Final = re.compile(
    r"password|passwd|secret|token|authorization|api_?key|cookie", re.IGNORECASE
)

_OURS: Final = "neo_polystore"


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Log as the settings say, to `stream` and the file they name; ConfigError where it cannot be.

    Call it again to change it; what was set before is replaced.
    """
    stream = stream or sys.stdout
    as_json = settings.neo_log_format == "json" or (
        settings.neo_log_format == "auto" and not stream.isatty()
    )
    mask = Mask(value.get_secret_value() for _, value in settings if isinstance(value, SecretStr))
    handlers: list[logging.Handler] = [logging.StreamHandler(stream)]
    handlers[0].setFormatter(_formatter(mask, as_json=as_json, colors=stream.isatty()))
    if settings.neo_log_file is not None:
        handlers.append(_file(settings, mask))
    _install(handlers, settings.neo_log_level.upper())


def warnings_only() -> None:
    """Log as a command does: warnings and errors to standard error, beside what it prints."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(Mask(()), as_json=False, colors=sys.stderr.isatty()))
    _install([handler], "WARNING")


class Mask:
    """A processor that masks these secrets in the finished line."""

    def __init__(self, secrets: Iterable[str]):
        plain = [text for text in secrets if len(text) >= _SHORTEST]
        escaped = [json.dumps(text)[1:-1] for text in plain]  # as a line in JSON has it
        found = sorted({*plain, *escaped}, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, found))) if found else None

    def __call__(self, _: WrappedLogger, __: str, line: Any) -> Any:
        """The line without secrets."""
        return self._found.sub(MASK, line) if self._found and isinstance(line, str) else line


def mask_names(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Mask what is called like a secret, whoever logged it."""
    for name in event:
        if _NAMES.search(name):
            event[name] = MASK
    return event


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        log_context.merge,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask_names,
    ]


def _formatter(mask: Mask, *, as_json: bool, colors: bool) -> ProcessorFormatter:
    rendering: list[Processor]
    if as_json:
        # tracebacks as text, without the values of variables
        rendering = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback  # the pretty one prints variables
        rendering = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return ProcessorFormatter(
        foreign_pre_chain=_shared(),
        processors=[ProcessorFormatter.remove_processors_meta, *rendering, mask],
    )


def _file(settings: Settings, mask: Mask) -> logging.Handler:
    """A file in JSON, opened anew where logrotate has moved it."""
    path = settings.neo_log_file
    assert path is not None  # noqa: S101 - the caller asked
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"NEO_LOG_FILE: {path}: {error.strerror}") from None
    handler.setFormatter(_formatter(mask, as_json=True, colors=False))
    return handler


def _install(handlers: list[logging.Handler], level: str) -> None:
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, ProcessorFormatter):
            root.removeHandler(old)
            old.close()
    for handler in handlers:
        root.addHandler(handler)
    ours = logging.getLogger(_OURS)
    ours.setLevel(level)
    root.setLevel(max(logging.WARNING, ours.level))  # what others tell of is not ours
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared(),
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
