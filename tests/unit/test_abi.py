"""Signatures, selectors and topics of an ABI, by the examples of the Solidity documentation."""

from __future__ import annotations

from typing import Any

import pytest

from neo_polystore.errors import ValidationError
from neo_polystore.records.abi import abi_fields, selector, topic
from neo_polystore.records.documents import document_models

CONTRACTS = document_models()["contract_metadata"]


def fields(*entries: Any) -> dict[str, list[str]]:
    """What these entries say."""
    return abi_fields({"abi": list(entries)})


def function(*types: Any, name: str = "f") -> dict[str, Any]:
    """A function with inputs of these types, or these parameters."""
    inputs = [t if isinstance(t, dict) else {"name": "", "type": t} for t in types]
    return {"type": "function", "name": name, "inputs": inputs}


def test_selectors_are_those_of_the_solidity_documentation() -> None:
    assert selector("baz(uint32,bool)") == "0xcdcd77c0"
    assert selector("bar(bytes3[2])") == "0xfce353f6"
    assert selector("sam(bytes,bool,uint256[])") == "0xa5643bf2"
    assert selector("transfer(address,uint256)") == "0xa9059cbb"


def test_the_topic_of_a_transfer_is_the_one_that_logs_have() -> None:
    assert topic("Transfer(address,address,uint256)") == (
        "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
    )


def test_tuples_are_written_out_and_keep_their_arrays() -> None:
    inner = {"type": "tuple[2][]", "components": [{"type": "uint"}, {"type": "string[3]"}]}
    outer = {"type": "tuple", "components": [inner, {"type": "bool"}]}
    assert fields(function(outer, "address[][4]"))["functions"] == [
        "f(((uint256,string[3])[2][],bool),address[][4])"
    ]


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("uint", "uint256"),
        ("int[]", "int256[]"),
        ("fixed", "fixed128x18"),
        ("ufixed[2]", "ufixed128x18[2]"),
        ("uint8", "uint8"),
        ("function", "function"),
        ("EnumerableSet.Set storage", "EnumerableSet.Set storage"),
        ("Lib.uint", "Lib.uint"),
    ],
)
def test_types_are_written_canonically(written: str, canonical: str) -> None:
    assert fields(function(written))["functions"] == [f"f({canonical})"]


def test_overloads_have_a_signature_each_and_one_name() -> None:
    found = fields(function("uint256"), function("uint256", "bool"), function("uint256"))
    assert found["functions"] == ["f(uint256)", "f(uint256,bool)"]
    assert found["members"] == ["f"]
    assert len(found["selectors"]) == 2


def test_an_anonymous_event_has_no_topic() -> None:
    event = {"type": "event", "name": "E", "inputs": [{"type": "uint256", "indexed": True}]}
    found = fields({**event, "anonymous": True}, {**event, "name": "F", "anonymous": False})
    assert found["events"] == ["E(uint256)", "F(uint256)"]
    assert found["topics"] == [topic("F(uint256)")]


def test_what_has_no_name_has_no_signature() -> None:
    found = fields(
        {"type": "constructor", "inputs": [{"type": "address"}]},
        {"type": "fallback", "stateMutability": "payable"},
        {"type": "receive"},
    )
    assert not any(found.values())


def test_errors_are_neither_functions_nor_selectors_of_calls() -> None:
    found = fields({"type": "error", "name": "Denied", "inputs": [{"type": "address"}]})
    assert (found["errors"], found["selectors"]) == (["Denied(address)"], [])


def test_an_entry_without_type_is_a_function_as_in_old_abis() -> None:
    assert fields({"name": "f", "constant": True, "payable": False})["functions"] == ["f()"]


@pytest.mark.parametrize(
    ("entry", "field", "reason"),
    [
        ("f", "abi.0", "an object"),
        ({"type": "method", "name": "f"}, "abi.0.type", "one of function"),
        ({"type": "function"}, "abi.0.name", "an identifier"),
        ({"type": "function", "name": "f g"}, "abi.0.name", "an identifier"),
        ({"type": "function", "name": "f", "inputs": {}}, "abi.0.inputs", "an array"),
        (function({"name": "a"}), "abi.0.inputs.0.type", "name of a type"),
        (function("uint256)"), "abi.0.inputs.0.type", "name of a type"),
        (function({"type": "tuple"}), "abi.0.inputs.0.components", "an array"),
    ],
)
def test_an_entry_that_is_none_is_refused_with_its_path(
    entry: Any, field: str, reason: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        CONTRACTS.parse({"network": "n", "address": "a", "abi": [entry]})
    [problem] = caught.value.problems
    assert problem.field == field
    assert reason in problem.reason


def test_tuples_nested_without_end_are_refused() -> None:
    parameter: dict[str, Any] = {"type": "uint256"}
    for _ in range(200):
        parameter = {"type": "tuple", "components": [parameter]}
    with pytest.raises(ValidationError, match="nested deeper than 32 levels"):
        fields(function(parameter))


def test_what_is_derived_replaces_what_was_given() -> None:
    given = {"network": "n", "address": "a", "abi": [function()], "selectors": ["0x00000000"]}
    assert CONTRACTS.parse(given).body()["selectors"] == [selector("f()")]
