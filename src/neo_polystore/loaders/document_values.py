"""Foreign JSON as documents may hold it: names that can be a field's, integers of 64 bits."""

from __future__ import annotations

from typing import Any

from neo_polystore.records.rules import field_name_problem
from neo_polystore.records.values import INT64


def storable(value: Any) -> Any:
    """The same value, nothing dropped, in a form that every document engine keeps.

    An object with a name that cannot be a field's (a file name has a dot) becomes the array of
    its members as `{"name": ..., "value": ...}`, in order; an integer beyond 64 bits its digits.
    """
    if isinstance(value, dict):
        if any(field_name_problem(name) for name in value):
            return [{"name": name, "value": storable(item)} for name, item in value.items()]
        return {name: storable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and not -INT64 <= value < INT64:
        return str(value)
    return value
