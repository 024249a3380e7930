"""A folder of a user's own collections, beside those that ship."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from neo_polystore.build import open_polystore
from neo_polystore.embedded import Membership
from neo_polystore.errors import ConfigError
from neo_polystore.records import collections
from neo_polystore.records.catalog import record_type
from neo_polystore.records.query import Query
from neo_polystore.registry import engine_class
from neo_polystore.routing import load_routing
from neo_polystore.settings import Settings

READINGS = Path(__file__).parents[1] / "data" / "mongo" / "readings.json"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with one collection; what the test has added is forgotten afterwards."""
    before = list(collections._added)
    shutil.copy(READINGS, tmp_path)
    yield tmp_path
    collections._added[:] = before


def test_an_added_collection_is_a_data_type_with_a_route_and_engines(folder: Path) -> None:
    collections.add_collections(folder)
    assert record_type("readings").data_type == "readings"
    assert load_routing("server")["readings"].primary == "mongo"
    assert load_routing("embedded")["readings"].primary == "jsonb"
    assert "readings" in engine_class("jsonb").serves


def test_adding_a_folder_again_changes_nothing(folder: Path) -> None:
    collections.add_collections(folder)
    collections.add_collections(folder)
    assert collections.added_names() == {"readings"}


def test_a_collection_of_a_taken_name_is_refused(folder: Path) -> None:
    shutil.copy(READINGS.parents[3] / "mongo" / "audit_logs.json", folder)
    with pytest.raises(ConfigError, match=r"audit_logs\.json: there is a collection audit_logs"):
        collections.add_collections(folder)
    assert "readings" not in collections.collections()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        collections.add_collections(tmp_path / "missing")


async def test_the_facade_serves_the_collections_of_the_settings(
    folder: Path, data_dir: Path, embedded: Membership
) -> None:
    settings = Settings(  # type: ignore[call-arg]
        _env_file=None, neo_profile="embedded", neo_data_dir=data_dir, neo_collections=folder
    )
    async with open_polystore(settings, data_types=["readings"]) as polystore:
        port = polystore.records("readings")
        body = {"station": "s", "taken_at": "2024-01-01T00:00:00Z", "level": 1}
        assert (await port.write([port.record.parse(body)])).new == 1
        assert await port.count(Query()) == 1
