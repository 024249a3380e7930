"""Changes field by field: what is told, what is masked, what is bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from neo_polystore.audit.changes import LONGEST, MASKED, changes, plain
from neo_polystore.records.accounts import User
from neo_polystore.records.catalog import record_type


def test_only_fields_that_differ_are_told() -> None:
    before = {"limit": 1, "label": "cold", "owner": "a"}
    after = {"limit": 2, "label": "cold", "note": "b"}
    assert changes(before, after) == {
        "limit": {"before": 1, "after": 2},
        "owner": {"before": "a"},
        "note": {"after": "b"},
    }


def test_a_creation_has_no_before_and_a_deletion_no_after() -> None:
    assert changes(None, {"a": 1}) == {"a": {"after": 1}}
    assert changes({"a": 1}, None) == {"a": {"before": 1}}
    assert changes(None, None) == {}


@pytest.mark.parametrize(
    "name", ["password", "api_token", "private_key", "mfa_secret", "sealed_blob", "mac"]
)
def test_a_field_that_looks_secret_shows_that_it_changed_and_no_more(name: str) -> None:
    found = changes({name: "old-value"}, {name: "new-value"})
    assert found == {name: {"before": MASKED, "after": MASKED}}


def test_secrets_are_masked_at_any_depth_and_in_any_dress() -> None:
    after = {"config": [{"password": "x", "host": "h"}], "key": SecretStr("y")}
    assert changes(None, after) == {
        "config": {"after": [{"password": MASKED, "host": "h"}]},
        "key": {"after": MASKED},
    }


def test_named_fields_are_masked_too() -> None:
    assert changes({"iban": "1"}, {"iban": "2"}, masks={"iban"}) == {
        "iban": {"before": MASKED, "after": MASKED}
    }


def test_what_a_record_model_excludes_is_masked() -> None:
    user = User.model_construct(username="u", password="hunter2")
    assert "hunter2" not in repr(changes(None, user))


def test_values_become_what_a_document_holds() -> None:
    day = datetime(2026, 1, 2, tzinfo=UTC)
    found = plain(
        {
            "amount": 2**200,
            "price": Decimal("1.50"),
            "id": UUID(int=1),
            "at": day,
            "naive": day.replace(tzinfo=None),
            "bytes": b"\x00\x01",
            "nan": float("nan"),
            "object": object(),
        }
    )
    assert found == {
        "amount": str(2**200),
        "price": "1.50",
        "id": str(UUID(int=1)),
        "at": day,
        "naive": "2026-01-02T00:00:00",
        "bytes": "AAE=",
        "nan": "nan",
        "object": "(object)",
    }


def test_long_values_are_told_by_size_and_digest() -> None:
    text = changes(None, {"abi": "x" * (LONGEST + 1)})["abi"]["after"]
    assert text["characters"] == LONGEST + 1
    assert len(text["sha256"]) == 64
    assert plain(b"\x00" * 65)["bytes"] == 65


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(before=st.dictionaries(st.text(), ANYTHING), after=st.dictionaries(st.text(), ANYTHING))
def test_whatever_changed_the_entry_is_one_that_its_collection_takes(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    entry = {
        "timestamp": "2026-01-05T12:00:00Z",
        "user_id": "u",
        "action": "UPDATE",
        "resource": "r",
        "changes": changes(before, after),
    }
    record_type("audit_logs").parse(entry)
