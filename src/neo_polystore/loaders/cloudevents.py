"""Events from CloudEvents 1.0 in JSON, one a line or a batch (an array) of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from neo_polystore.ids import derived_uuid
from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build, read_time
from neo_polystore.loaders.json_stream import elements
from neo_polystore.loaders.json_text import an_object, json_lines
from neo_polystore.loaders.source import Source
from neo_polystore.records.events import Event

_REQUIRED = ("id", "source", "type")
_DATA = ("data", "data_base64")
_IDS = {"correlation_id": "correlationid", "causation_id": "causationid", "user_id": "userid"}
_NAMES = {
    "event_id": "id",
    "aggregate_id": "subject",
    "aggregate_type": "source",
    "event_type": "type",
    "event_data": "data",
    "created_at": "time",
}


def cloudevents(source: Source, options: LoadOptions) -> Iterator[Item]:
    """Every event, appended to the stream of its subject in the order of the file."""
    batch = source.head().lstrip().startswith(b"[")
    for element in elements(source) if batch else json_lines(source):
        found = element if isinstance(element, BadRecord) else an_object(element)
        if isinstance(found, BadRecord):
            yield found
        else:
            yield _event(found.number, found.value, options)


def _event(number: int, event: Mapping[str, Any], options: LoadOptions) -> Item:
    if event.get("specversion") != "1.0":
        got = str(event.get("specversion"))[:40]
        return BadRecord(number, "specversion", f"expected '1.0', got {got!r}")
    for name in _REQUIRED:
        if not isinstance(event.get(name), str) or not event[name]:
            return BadRecord(number, name, "expected a text that is not empty")
    subject = event.get("subject")
    if not (subject is None or isinstance(subject, str)):
        return BadRecord(number, "subject", "expected a text")
    try:
        time = options.now if event.get("time") is None else read_time(event["time"])
    except ValueError as error:
        return BadRecord(number, "time", str(error))
    ids = {field: _uuid(event.get(name)) for field, name in _IDS.items()}
    used = {"id", "type", "time", *_DATA, *(_IDS[field] for field, found in ids.items() if found)}
    event_id = _uuid(event["id"])
    data = {
        "event_id": event_id or derived_uuid("cloudevent", event["source"], event["id"]),
        "aggregate_id": _uuid(subject) or derived_uuid(event["source"], subject or ""),
        "aggregate_type": event["source"],
        "event_type": event["type"],
        "event_data": _payload(event),
        "metadata": _metadata(event, used if event_id else used - {"id"}),
        "created_at": time,
        **ids,
    }
    return build(Event, data, number, _NAMES)


def _payload(event: Mapping[str, Any]) -> dict[str, Any]:
    """`data` where it is an object; a value of another kind, and base64, under its own name."""
    if isinstance(data := event.get("data"), dict):
        return data
    return {name: event[name] for name in _DATA if event.get(name) is not None}


def _metadata(event: Mapping[str, Any], used: set[str]) -> dict[str, Any]:
    """Context attributes and extensions under their own names, without what has a field."""
    return {name: value for name, value in event.items() if name not in used and value is not None}


def _uuid(value: Any) -> UUID | None:
    """The UUID that this text is in its usual form of 36 characters, else None."""
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        return UUID(value)
    except ValueError:
        return None
