"""Lines of the log: every logger's, as JSON, with the request's ids and without secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from neo_polystore.activity import Recorder
from neo_polystore.errors import ConfigError
from neo_polystore.ops import log_context, log_setup
from neo_polystore.settings import Settings

SECRET = 'pass"word-1234'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(level)
    logging.getLogger("neo_polystore").setLevel(logging.NOTSET)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def configured(**changes: Any) -> io.StringIO:
    """What a process with these settings logs to."""
    stream = io.StringIO()
    settings = Settings(_env_file=None, **changes)  # type: ignore[call-arg]
    log_setup.configure(settings, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_one_json_object_per_line_with_the_ids() -> None:
    stream = configured()
    with structlog.contextvars.bound_contextvars(trace_id="ab"):
        carried = log_context.begin(request_id="r-1")
        log_context.add({"tenant": "t-1"})
        structlog.get_logger("neo_polystore.one").info("said", count=2)
        logging.getLogger("neo_polystore.two").warning("said %s", "so", extra={"store": "redis"})
        log_context.end(carried)
    first, second = lines(stream)
    assert (first["event"], first["count"], first["level"]) == ("said", 2, "info")
    assert (second["event"], second["store"], second["level"]) == ("said so", "redis", "warning")
    for line, name in ((first, "one"), (second, "two")):
        assert (line["request_id"], line["tenant"], line["trace_id"]) == ("r-1", "t-1", "ab")
        assert line["logger"] == f"neo_polystore.{name}"
        assert line["timestamp"].endswith("Z")


def test_secrets_of_the_settings_and_what_is_named_like_one_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # a uvicorn that ran in this process with a configuration of its own keeps its lines
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "disabled", False)
    stream = configured(redis_password=SecretStr(SECRET), jwt_secret_key=SecretStr("k" * 40))
    log = structlog.get_logger("neo_polystore")
    log.info("connects", url="redis://:" + "k" * 40 + "@host", api_key="neok.abc", token="eyJ")
    log.info("quoted", why=f"no access with {SECRET}")
    try:
        raise ValueError(f"bad {SECRET} here")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("failed")
    text = stream.getvalue()
    assert "k" * 40 not in text
    assert "neok" not in text
    assert "eyJ" not in text
    assert "word-1234" not in text
    assert "ValueError: bad ******** here" in lines(stream)[2]["exception"]


def test_a_traceback_has_no_values_of_variables() -> None:
    for form in ("json", "console"):
        stream = configured(neo_log_format=form)
        hidden = "plain" + "text-of-a-blob"
        try:
            raise RuntimeError("it broke")
        except RuntimeError:
            structlog.get_logger("neo_polystore").exception("failed")
        assert "RuntimeError: it broke" in stream.getvalue()
        assert hidden not in stream.getvalue()


def test_the_level_and_the_noise_of_others() -> None:
    stream = configured(neo_log_level="warning")
    logging.getLogger("neo_polystore").info("not said")
    assert stream.getvalue() == ""
    stream = configured(neo_log_level="debug")
    logging.getLogger("alembic.runtime").info("not ours")
    logging.getLogger("neo_polystore").debug("said")
    assert [line["event"] for line in lines(stream)] == ["said"]


def test_the_file_has_the_same_lines_and_is_opened_anew_when_it_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "app.log"
    stream = configured(neo_log_file=path, neo_log_format="console")
    log = logging.getLogger("neo_polystore")
    log.warning("before")
    path.rename(tmp_path / "app.log.1")
    log.warning("after")
    assert json.loads(path.read_text())["event"] == "after"
    assert json.loads((tmp_path / "app.log.1").read_text())["event"] == "before"
    assert "before" in stream.getvalue()
    with pytest.raises(ConfigError, match="NEO_LOG_FILE"):
        configured(neo_log_file=tmp_path)


def test_a_slow_call_of_a_store_has_a_line_and_a_quick_one_has_none() -> None:
    stream = configured()
    recorder = Recorder("postgres")
    recorder.took("transactions.write", 0.9)
    recorder.took("transactions.write", 1.5)
    [line] = lines(stream)
    assert (line["event"], line["store"]) == ("slow call of a store", "postgres")
    assert (line["operation"], line["seconds"]) == ("transactions.write", 1.5)
