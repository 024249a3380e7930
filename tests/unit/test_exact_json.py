"""JSON for jsonb columns."""

from __future__ import annotations

from typing import Any

import pytest

from neo_polystore.pgkit import exact_json


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"wei": 2**256 - 1, "debt": -(10**77)},
        {"a": 2**63 - 1, "b": 2**64 - 1, "c": -(2**63)},
        {"text": "\\u0000 is no NUL", "nothing": None, "list": [1, 0.1, True, "é"]},
        {"digits": "1234567890123456789012345"},
    ],
)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert exact_json.loads(exact_json.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": ["x\x00y"]}, "NUL"),
        ({"a\x00": 1, "big": 10**30}, "NUL"),
        ({"a": [float("nan")]}, "nan"),
        ({"a": {"b": float("inf")}}, "inf"),
        ({"big": 10**30, "a": float("nan")}, "JSON"),
        ({"a": "\ud800"}, "UTF-8"),
        ({"a": "\ud800", "big": 10**30}, "surrogates"),
    ],
)
def test_what_jsonb_cannot_hold_is_refused_with_the_reason(value: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        exact_json.dumps(value)
