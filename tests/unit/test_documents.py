"""Collection files, their record models, and the check that both document engines use."""

from __future__ import annotations

from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, ValidationError
from neo_polystore.records.collections import collections, read_collection, read_collections
from neo_polystore.records.documents import document_model, document_models
from neo_polystore.records.query import orderable_fields
from neo_polystore.records.validators import check
from neo_polystore.records.values import value_problems
from neo_polystore.stores.jsonb.encoding import decode, encode

READINGS = Path(__file__).parents[1] / "data" / "mongo" / "readings.json"
AUDIT = document_models()["audit_logs"]
CONTRACTS = document_models()["contract_metadata"]
START = datetime(2024, 2, 29, 12, tzinfo=UTC)


def entry(**changes: Any) -> dict[str, Any]:
    """A good audit entry with changes."""
    good = {"_id": "1", "timestamp": START, "user_id": "u", "action": "READ", "resource": "r"}
    return {**good, **changes}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
times = st.datetimes(timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | times
)
names = texts.filter(lambda name: not name.startswith("$") and "." not in name)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
entries = st.fixed_dictionaries(
    {"_id": texts.filter(bool)},
    optional={
        "timestamp": times | scalars,
        "user_id": texts | scalars,
        "action": st.sampled_from(["CREATE", "READ", "PURGE", "", 1]),
        "resource": texts | scalars,
        "resource_id": texts | scalars,
        "changes": st.dictionaries(names, values, max_size=3) | values,
        "success": st.booleans() | scalars,
        "open": values,
    },
)


@given(entries)
def test_the_model_takes_every_document_that_the_validator_takes(body: dict[str, Any]) -> None:
    if not check(AUDIT.collection, body):
        assert AUDIT.parse(body).body() == body


@given(entries)
def test_the_validator_takes_every_record_that_the_model_makes(body: dict[str, Any]) -> None:
    try:
        record = AUDIT.parse(body)
    except ValidationError as error:
        assert error.problems
    else:
        assert check(AUDIT.collection, record.body()) == []


@given(st.dictionaries(names, values, max_size=3), values)
def test_records_survive_the_way_to_json_and_back(changes: dict[str, Any], value: Any) -> None:
    record = AUDIT.parse(entry(changes=changes, open=value))
    assert AUDIT.model_validate_json(record.model_dump_json(by_alias=True)).body() == record.body()


@given(st.dictionaries(names, values, max_size=5))
def test_documents_survive_the_way_to_jsonb_and_back(body: dict[str, Any]) -> None:
    rule = READINGS_RULE
    assert decode(orjson.loads(encode(body, rule)), rule) == body


READINGS_RULE = read_collection(READINGS).validator


@given(st.dictionaries(names, values, max_size=5))
def test_the_measured_size_is_that_of_bson(body: dict[str, Any]) -> None:
    bson = pytest.importorskip("bson", reason="pymongo is not installed")
    from neo_polystore.records.values import _measure

    assert _measure(body, (), []) == len(bson.encode(body))


def test_the_shipped_collections_are_the_ones_of_the_specification() -> None:
    audit = collections()["audit_logs"]
    assert audit.validator["required"] == ["timestamp", "user_id", "action", "resource"]
    assert [index.keys for index in audit.indexes][:3] == [
        (("timestamp", -1),),
        (("user_id", 1), ("timestamp", -1)),
        (("resource", 1), ("resource_id", 1)),
    ]
    assert audit.retention == timedelta(days=2557)
    contracts = collections()["contract_metadata"]
    assert contracts.validator["required"] == ["address", "network", "abi"]
    assert contracts.indexes[0].unique
    assert contracts.key == ("network", "address")
    assert contracts.retention is None


def test_json_dates_are_read_where_the_validator_has_dates() -> None:
    model = document_model(read_collection(READINGS))
    record = model.parse(
        {
            "_id": "1",
            "station": "s",
            "taken_at": "2024-01-01T00:00:00.123456+01:00",
            "level": 1,
            "visits": [{"by": "A", "at": "2024-01-01T00:00:00Z"}],
            "device": {"model": "m", "built": "2024-01-01T00:00:00Z"},
            "other": "2024-01-01T00:00:00Z",
        }
    )
    body = record.body()
    assert body["taken_at"] == datetime(2023, 12, 31, 23, 0, 0, 123_000, tzinfo=UTC)
    assert body["visits"][0]["at"] == body["device"]["built"] == datetime(2024, 1, 1, tzinfo=UTC)
    assert body["other"] == "2024-01-01T00:00:00Z"


def test_a_bad_document_names_every_problem_with_its_path() -> None:
    with pytest.raises(ValidationError) as caught:
        AUDIT.parse({"_id": "1", "timestamp": "soon", "user_id": 5, "action": "PURGE"})
    assert {problem.field for problem in caught.value.problems} == {
        *("timestamp", "user_id", "action", "resource")
    }


def test_a_deep_document_is_refused() -> None:
    value: Any = 1
    for _ in range(101):
        value = [value]
    [problem] = value_problems({"a": value})
    assert problem.reason == "nested deeper than 100 levels"


def test_an_indexed_text_is_limited() -> None:
    problem, *_ = check(AUDIT.collection, entry(resource="ü" * 513))
    assert (problem.field, "1,024 bytes" in problem.reason) == ("resource", True)
    assert check(AUDIT.collection, entry(user_agent="x" * 100_000)) == []


def test_different_keys_never_make_the_same_id() -> None:
    pairs = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("a", "b%3Ac")]
    keys = {CONTRACTS.parse({"network": n, "address": a, "abi": []}).key for n, a in pairs}
    assert len(keys) == len(pairs)


def test_documents_may_have_fields_named_like_the_models_attributes() -> None:
    extra = {"key": 1, "body": 2, "id": 3, "collection": 4, "cls": 5, "_fields_set": 6, "data": 7}
    record = AUDIT.parse(entry(**extra))
    assert record.key == "1"
    assert record.body() == entry(**extra)
    assert AUDIT.stored(record.body()) == record


def test_what_no_validator_would_take_any_more_is_still_read() -> None:
    record = AUDIT.stored({"_id": "1", "action": "PURGE", "old": True})
    assert record.body() == {"_id": "1", "action": "PURGE", "old": True}


def test_only_fields_that_are_never_absent_order() -> None:
    assert set(orderable_fields(AUDIT)) == {
        *("document_id", "timestamp", "user_id", "action", "resource")
    }


AUDIT_FILE = orjson.loads((asset("mongo") / "audit_logs.json").read_bytes())


def _with(path: str, value: Any) -> dict[str, Any]:
    content = deepcopy(AUDIT_FILE)
    *steps, last = path.split("/")
    target = content
    for step in steps:
        target = target[step]
    target[last] = value
    return content  # type: ignore[no-any-return]


SCHEMA = "validator/$jsonSchema"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (_with("colection", "x"), "colection"),
        (_with("collection", "Audit Logs"), "collection: String should match"),
        (_with("collection", "other"), "the file of other is other.json"),
        (_with("version", 0), "version"),
        (_with("retention_days", -1), "retention_days"),
        (_with("time_field", "resource"), "'resource' is not declared with bsonType 'date'"),
        (_with("text_field", "nothing"), "'nothing' is not declared with bsonType 'string'"),
        (_with("key", ["resource_id"]), "'resource_id' must be required"),
        (_with(f"{SCHEMA}/type", "object"), "unsupported keyword 'type'"),
        (_with(f"{SCHEMA}/bsonType", "array"), 'a document is of bsonType "object"'),
        (_with(f"{SCHEMA}/additionalProperties", False), "needs _id declared"),
        (_with(f"{SCHEMA}/required", []), "validator.required: cannot be '[]'"),
        (_with(f"{SCHEMA}/properties/user_id", {"bsonType": "text"}), "cannot be 'text'"),
        (_with(f"{SCHEMA}/properties/user_id", {"pattern": "("}), "cannot be '('"),
        (_with(f"{SCHEMA}/properties/a.b", {}), "a field name cannot contain a dot"),
        (_with("indexes", [{"name": "a", "keys": [["other", 1]]}]), "neither scalar nor array"),
        (_with("indexes", [{"name": "a", "keys": [["user_id", 2]]}]), "indexes.0.keys.0.1"),
        (_with("indexes", [{"name": "a", "keys": [["success", "text"]]}]), "cannot be searched"),
        (_with("indexes", AUDIT_FILE["indexes"][:1] * 2), "two indexes have this name"),
    ],
)
def test_a_file_that_is_not_right_is_refused_with_its_problem(
    tmp_path: Path, content: dict[str, Any], problem: str
) -> None:
    path = tmp_path / "audit_logs.json"
    path.write_bytes(orjson.dumps(content))
    with pytest.raises(ConfigError) as caught:
        read_collections(tmp_path)
    assert str(path) in str(caught.value)
    assert problem in str(caught.value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"collection": ')
    with pytest.raises(ConfigError, match=r"broken\.json: not JSON"):
        read_collections(tmp_path)


def test_a_declared_field_named_like_an_attribute_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audit_logs.json"
    path.write_bytes(orjson.dumps(_with(f"{SCHEMA}/properties/key", {"bsonType": "string"})))
    with pytest.raises(ConfigError, match="'key' cannot be declared"):
        document_model(read_collection(path))
