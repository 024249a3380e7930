"""Audit entries from AWS CloudTrail log files (`{"Records": [...]}`, plain or gzip)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build, read_time
from neo_polystore.loaders.document_values import storable
from neo_polystore.loaders.json_stream import elements
from neo_polystore.loaders.json_text import an_object
from neo_polystore.loaders.source import Source
from neo_polystore.records.documents import document_models

_NAMES = {
    "_id": "eventID",
    "timestamp": "eventTime",
    "resource": "eventSource",
    "ip_address": "sourceIPAddress",
    "user_agent": "userAgent",
    "error_message": "errorMessage",
}
_REQUIRED = ("eventID", "eventTime", "eventSource", "eventName")
_MAPPED = {
    "eventID",
    "eventTime",
    "eventSource",
    "sourceIPAddress",
    "userAgent",
    "errorMessage",
    "requestParameters",
    "responseElements",
}
_VERBS = {
    "READ": "BatchGet Check Describe Download Get Head List Lookup Query Scan Search Select View",
    "CREATE": "Allocate Copy Create Import Issue Register Request Restore Run",
    "DELETE": "Delete Deregister Purge Release Terminate",
    "UPDATE": "Add Associate Attach Authorize Change Detach Disable Disassociate Enable Modify Put"
    " Remove Replace Reset Revoke Rotate Set Tag Untag Update Upload",
}
_ACTIONS = {verb: action for action, verbs in _VERBS.items() for verb in verbs.split()}
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]*|[a-z]+|\d+")
_IDENTIFIERS = ("arn", "identifier", "id", "name")


def cloudtrail(source: Source, options: LoadOptions) -> Iterator[Item]:
    """The events of one file, record n being the nth of `Records`; nothing of one is dropped."""
    for element in elements(source, "Records"):
        found = element if isinstance(element, BadRecord) else an_object(element)
        yield found if isinstance(found, BadRecord) else _entry(found.number, found.value)


def _entry(number: int, event: Mapping[str, Any]) -> Item:
    if missing := [name for name in _REQUIRED if not event.get(name)]:
        return BadRecord(number, missing[0], f"missing: {', '.join(missing)}")
    try:
        timestamp = read_time(event["eventTime"])
    except ValueError as error:
        return BadRecord(number, "eventTime", str(error))
    data = {
        "_id": event["eventID"],
        "timestamp": timestamp,
        "user_id": user_of(event.get("userIdentity")),
        "action": action_of(event),
        "resource": event["eventSource"],
        "resource_id": resource_of(event),
        "changes": _changes(event),
        "ip_address": event.get("sourceIPAddress"),
        "user_agent": event.get("userAgent"),
        "success": _succeeded(event),
        "error_message": event.get("errorMessage") or event.get("errorCode"),
    }
    for name, value in event.items():
        if name not in _MAPPED and value is not None:
            kept = snake_case(name)
            data[f"cloudtrail_{kept}" if kept in data else kept] = storable(value)
    model = document_models()["audit_logs"]
    return build(model, {k: v for k, v in data.items() if v is not None}, number, _NAMES)


def user_of(identity: Any) -> str:
    """The ARN, else the principal, else the service that acted, else the account, else `system`."""
    if isinstance(identity, dict):
        for name in ("arn", "principalId", "userName", "invokedBy", "accountId"):
            if isinstance(value := identity.get(name), str) and value:
                return value
    return "system"


def action_of(event: Mapping[str, Any]) -> str:
    """READ where the event is read-only, else by the verb that its name begins with, else EXECUTE.

    A verb of reading counts only where the event does not say whether it is read-only.
    """
    read_only = event.get("readOnly")
    if read_only is True:
        return "READ"
    words = _WORDS.findall(str(event.get("eventName", "")))
    action = _ACTIONS.get("".join(words[:2])) or _ACTIONS.get(words[0] if words else "", "EXECUTE")
    return "EXECUTE" if action == "READ" and read_only is False else action


def resource_of(event: Mapping[str, Any]) -> str | None:
    """The ARN of the first of `resources`, else what the request parameters identify.

    `bucketName` comes with its `key`; of the others the first whose name ends in Arn, else in
    Identifier, else in Id, else in Name.
    """
    resources = event.get("resources")
    for resource in resources if isinstance(resources, list) else []:
        if isinstance(resource, dict) and isinstance(arn := resource.get("ARN"), str) and arn:
            return arn
    parameters = event.get("requestParameters")
    if not isinstance(parameters, dict):
        return None
    texts = {k: v for k, v in parameters.items() if isinstance(v, str) and v}
    if bucket := texts.get("bucketName"):
        return f"{bucket}/{texts['key']}" if "key" in texts else bucket
    for ending in _IDENTIFIERS:
        for name, value in texts.items():
            if name.lower() == ending or name.endswith(ending.title()):
                return value
    return None


def snake_case(name: str) -> str:
    """`sharedEventID` -> `shared_event_id`."""
    return "_".join(word.lower() for word in _WORDS.findall(name)) or name


def _changes(event: Mapping[str, Any]) -> dict[str, Any] | None:
    names = ("requestParameters", "responseElements")
    return {name: storable(event[name]) for name in names if event.get(name) is not None} or None


def _succeeded(event: Mapping[str, Any]) -> bool:
    """No error code; a console login states its outcome in the response instead."""
    response = event.get("responseElements")
    outcome = response.get("ConsoleLogin") if isinstance(response, dict) else None
    return not event.get("errorCode") and outcome != "Failure"
