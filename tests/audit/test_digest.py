"""The digest's text: what the fast encoder writes is what Python's own does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neo_polystore.audit import digest
from neo_polystore.records.values import date_text

_TIMES = st.datetimes(timezones=st.just(UTC))
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
    | _TIMES
)
_NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
_VALUES = st.recursive(_LEAVES, lambda v: st.lists(v) | st.dictionaries(_NAMES, v), max_leaves=12)


def _plain(value: Any) -> str:
    def date(one: datetime) -> dict[str, str]:
        return {"$date": date_text(one)}

    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=date
    )


@given(body=st.dictionaries(_NAMES, _VALUES, max_size=6))
@example(body={"a": 1e16, "b": 1e-7, "c": -0.0, "d": 5e-324, "e": 123456789.123})
@example(body={"\x7f": '\x00\x1f\u2028/"\\', "é": "", "\U0001f600": "", "￿": ""})
@example(body={"n": 2**63, "m": 2**64, "k": -(2**63) - 1})
@example(
    body={"at": datetime(1, 1, 1, tzinfo=UTC), "in": [{"at": datetime.max.replace(tzinfo=UTC)}]}
)
def test_the_text_is_that_of_pythons_encoder(body: dict[str, Any]) -> None:
    assert digest._text(body).decode() == _plain(body)


def test_what_is_no_number_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        digest._text({"value": float("nan")})
