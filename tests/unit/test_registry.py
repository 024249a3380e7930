"""Engines by name: each is there with its extra, its suite and its row of expectations."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from neo_polystore import registry
from neo_polystore.errors import ConfigError
from neo_polystore.registry import ENGINES, engine_class

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
EXPECTED = tomllib.loads((ROOT / "tests/conformance/expected.toml").read_text())


def test_an_unknown_engine_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown engine 'oracle'.*postgres"):
        engine_class("oracle")


def test_a_missing_extra_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'neo-polystore\[tantivy\]'"):
        engine_class("tantivy")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_complete(name: str) -> None:
    found = engine_class(name)
    assert found.name == name
    assert ENGINES[name].extra is None or ENGINES[name].extra in EXTRAS
    assert (ROOT / "src/neo_polystore/stores" / name / "store.py").exists()


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_serves_exactly_what_is_expected_of_it(name: str) -> None:
    found = engine_class(name)
    assert sorted(found.serves) == sorted(EXPECTED[name]["serves"])
    assert sorted(found.features) == sorted(EXPECTED[name]["features"])


@pytest.mark.parametrize("data_type", sorted({t for e in EXPECTED.values() for t in e["serves"]}))
def test_a_data_type_has_a_conformance_suite(data_type: str) -> None:
    names = {"audit_logs": "documents", "contract_metadata": "documents"}
    suite = ROOT / "tests/conformance" / f"test_{names.get(data_type, data_type)}.py"
    assert suite.exists()
