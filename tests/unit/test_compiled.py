"""The short way to say that a document is good agrees with the long one that says why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.errors import ValidationError
from neo_polystore.records.collections import read_collection
from neo_polystore.records.compiled import compiled, plain_size
from neo_polystore.records.documents import document_models
from neo_polystore.records.validators import _ValidatorClass, check
from neo_polystore.records.values import MAX_BYTES, value_problems
from tests.unit.test_documents import entry, names, values

READINGS = read_collection(Path(__file__).parents[1] / "data" / "mongo" / "readings.json")
AUDIT = document_models()["audit_logs"]
TYPES = ["string", "date", "bool", "int", "long", "double", "number", "object", "array", "null"]

plain = st.one_of(
    st.fixed_dictionaries({"bsonType": st.sampled_from(TYPES)}),
    st.fixed_dictionaries({"bsonType": st.lists(st.sampled_from(TYPES), min_size=1, max_size=3)}),
    st.fixed_dictionaries({"enum": st.lists(st.sampled_from(["a", "", 1, 0]), min_size=1)}),
    st.fixed_dictionaries({"minLength": st.integers(0, 3), "maxLength": st.integers(0, 9)}),
    st.fixed_dictionaries({"pattern": st.sampled_from(["^a", "[0-9]", "x$"])}),
    st.fixed_dictionaries({"minimum": st.integers(-5, 5), "exclusiveMinimum": st.booleans()}),
    st.fixed_dictionaries({"required": st.lists(st.sampled_from("abc"), min_size=1)}),
    st.fixed_dictionaries({"minItems": st.integers(0, 2), "uniqueItems": st.booleans()}),
)
rules = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("abc"), inner)}),
        st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.sampled_from("ab"), inner),
                "additionalProperties": st.booleans() | inner,
            }
        ),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"not": inner}),
    ),
    max_leaves=5,
)
near = st.recursive(
    st.sampled_from(["a", "b1", "", "xxxxxxxxxxxx", 0, 1, -9, 2**31, 2**40, 0.5, True, None])
    | st.just(datetime(2024, 1, 1, tzinfo=UTC)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(rules, near)
def test_a_compiled_rule_takes_what_the_rule_takes(rule: dict[str, Any], value: Any) -> None:
    test = compiled(rule, lambda inner: _ValidatorClass(inner).is_valid)
    assert test(value) == _ValidatorClass(rule).is_valid(value)


@given(st.dictionaries(names, values, max_size=5))
def test_what_every_engine_keeps_is_plain_and_not_smaller_than_it_is(body: dict[str, Any]) -> None:
    bson = pytest.importorskip("bson", reason="pymongo is not installed")
    assert value_problems(body) == []
    assert len(bson.encode(body)) <= plain_size(body) <= MAX_BYTES


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({"a": {"$set": 1}}, "open.a.$set", "cannot start with $"),
        ({"a.b": 1}, "open.a.b", "dot"),
        ({"a\x00": 1}, "open.a\\0", "NUL"),
        (["x", "a\x00b"], "open.1", "NUL"),
        (2**63, "open", "64 bits"),
        (-(2**63) - 1, "open", "64 bits"),
        (float("nan"), "open", "no JSON number"),
        ([float("-inf")], "open.0", "no JSON number"),
        (datetime(2024, 1, 1), "open", "without a zone"),  # noqa: DTZ001
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "open", "year 9999"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "open", "year 1 "),
        ("x" * (MAX_BYTES + 1), "document", "16,777,216"),
        ({"é" * 6_000_000: "x" * 5_000_000}, "document", "16,777,216"),
        ({1, 2}, "open", "type set"),
        ({"a": "\ud800"}, "open.a", "surrogate"),
    ],
    ids=lambda value: str(type(value).__name__),
)
def test_a_bad_value_is_named_by_its_path(value: Any, field: str, reason: str) -> None:
    problems = check(AUDIT.collection, entry(open=value))
    assert [problem.field for problem in problems] == [field]
    assert reason in problems[0].reason


@pytest.mark.parametrize("levels", [99, 200, 5_000])
def test_documents_nest_so_deep_and_no_deeper(levels: int) -> None:
    value: Any = "end"
    for _ in range(levels):
        value = {"n": value}
    if levels < 100:
        assert AUDIT.parse(entry(open=value)).body()["open"] == value
        return
    with pytest.raises(ValidationError, match="nested deeper than 100 levels"):
        AUDIT.parse(entry(open=value))


@pytest.mark.parametrize(
    "time",
    [
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
        "0000-12-31T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "-0044-03-15T00:00:00Z",
    ],
)
def test_a_time_outside_of_the_years_is_refused_by_name(time: object) -> None:
    with pytest.raises(ValidationError) as caught:
        AUDIT.parse(entry(timestamp=time))
    assert [problem.field for problem in caught.value.problems] == ["timestamp"]


def test_a_field_that_the_validator_forbids_is_refused_by_name() -> None:
    from dataclasses import replace

    from neo_polystore.records.documents import document_model

    rule = {**READINGS.validator, "additionalProperties": False}
    rule["properties"] = {**rule["properties"], "_id": {"bsonType": "string"}}
    model = document_model(replace(READINGS, validator=rule))
    body = {"station": "s", "taken_at": datetime(2024, 1, 1, tzinfo=UTC), "level": 1}
    assert model.parse(body)
    with pytest.raises(ValidationError, match="more: breaks additionalProperties"):
        model.parse({**body, "more": 1})
