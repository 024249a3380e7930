"""The distribution table: what it says, and what a wrong one is answered."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from neo_polystore.assets import asset
from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.records.catalog import record_types
from neo_polystore.routing import UNRECORDED, load_routing
from neo_polystore.settings import Settings

TABLE = asset("schemas/routing.toml").read_text()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "routing.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("data_type", "primary", "cache", "retention"),
    [
        ("accounts", "postgres", "redis", "indefinite"),
        ("transactions", "postgres", "redis", "7 years"),
        ("events", "event_store", None, "5 years"),
        ("contract_metadata", "mongo", "redis", "as configured"),
        ("analytics", "clickhouse", None, "1 year"),
    ],
)
def test_the_server_profile_routes_as_the_specification_says(
    data_type: str, primary: str, cache: str | None, retention: str
) -> None:
    route = load_routing("server")[data_type]
    assert (route.primary, route.cache, route.backup) == (primary, cache, "s3")
    assert route.retention == retention


def test_the_embedded_profile_substitutes_engines_and_nothing_else() -> None:
    server, embedded = load_routing("server"), load_routing("embedded")
    assert embedded["audit_logs"].primary == "jsonb"
    assert embedded["objects"].primary == "files"
    assert [r.data_type for r in server] == [r.data_type for r in embedded]
    assert all(server[r.data_type].retention == r.retention for r in embedded)


def test_logs_go_to_elasticsearch_where_the_server_profile_has_one() -> None:
    url = SecretStr("http://search:9200")
    for profile, expected in (("server", "elasticsearch"), ("embedded", "tantivy")):
        settings = Settings(_env_file=None, neo_profile=profile, elasticsearch_url=url)  # type: ignore[call-arg, arg-type]
        table = load_routing(profile, addressed=settings.addressed)
        assert table["logs"].primary == expected
    without = Settings(_env_file=None, neo_profile="server", elasticsearch_url=SecretStr(""))  # type: ignore[call-arg]
    assert load_routing("server", addressed=without.addressed)["logs"].primary == "tantivy"


def test_every_data_type_has_a_row() -> None:
    assert {route.data_type for route in load_routing("embedded")} == {*record_types(), *UNRECORDED}


def test_an_unknown_data_type_is_refused_and_not_defaulted() -> None:
    with pytest.raises(UsageError, match=r"unknown data type 'receipt'.*transactions"):
        load_routing("embedded")["receipt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[routes]\n", "[routes]\nrumours = {primary='x', retention='ttl'}\n"), "'rumours'"),
        (("events  ", "# events  "), "no row for 'events'"),
        (('"90 days" }\n', '"90 days"\n'), "routing.toml: "),
        (('retention = "7 years"', 'retention = "7 yaers"'), "7 yaers"),
        (('primary = "event_store"', 'primry = "event_store"'), "routes.events.primry"),
    ],
)
def test_a_wrong_table_names_the_row_and_the_problem(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert change[0] in TABLE
    path = written(tmp_path, TABLE.replace(*change, 1))
    with pytest.raises(ConfigError, match=message):
        load_routing("embedded", path)


def test_a_missing_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_routing("embedded", tmp_path / "none.toml")
