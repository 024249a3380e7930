"""Commands that show what is in force, and how they end."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_help_names_every_command(cli: Cli) -> None:
    answer = cli("--help")
    assert answer.code == 0
    for name in ("serve", "demo", "load", "query", "routes", "health", "settings", "db", "outbox"):
        assert name in answer.out


def test_routes_are_shown_as_table_and_as_json(cli: Cli) -> None:
    assert "elasticsearch" not in cli("routes").out
    found = cli("routes", "--json").json
    assert found["profile"] == "embedded"
    assert {"transactions", "audit_logs", "limits"} <= {r["data_type"] for r in found["routes"]}


def test_settings_are_shown_without_secrets(cli: Cli) -> None:
    answer = cli("settings", POSTGRES_PASSWORD="hunter2-secret")
    assert "POSTGRES_PASSWORD" in answer.out
    assert "hunter2-secret" not in answer.out + cli("settings", "--json").out


def test_health_shows_every_store(cli: Cli) -> None:
    answer = cli("health", "--json")
    assert (answer.code, answer.json["status"]) == (0, "healthy"), answer.out


def test_a_migrated_platform_has_nothing_pending(cli: Cli) -> None:
    assert cli("db", "migrate").code == 0
    status = cli("db", "status", "--json")
    assert status.code == 0
    assert all(not report["pending"] and not report["problems"] for report in status.json)


@pytest.mark.parametrize(
    ("words", "changes", "code", "message"),
    [
        (("query", "receipt"), {}, 2, "transactions"),
        (("routes",), {"NEO_PROFILE": "laptop"}, 2, "NEO_PROFILE"),
        (("routes",), {"NEO_ROUTING": "/nowhere.toml"}, 2, "/nowhere.toml"),
        (("serve", "--host", "0.0.0.0"), {}, 2, "JWT_SECRET_KEY"),  # noqa: S104
        (("health",), {"NEO_EMBEDDED_PG_BIN": "/nowhere"}, 3, "nowhere"),
        (("nonsense",), {}, 2, "nonsense"),
    ],
)
def test_what_cannot_be_done_is_said_and_the_exit_code_tells(
    cli: Cli,
    tmp_path: Path,
    words: tuple[str, ...],
    changes: dict[str, str],
    code: int,
    message: str,
) -> None:
    answer = cli(*words, data=tmp_path / "fresh", **changes)
    assert (answer.code, message in answer.out + answer.err) == (code, True), answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("postgres", "oracle"), "unknown engine 'oracle'"),
        (
            ('"postgres",      cache = "redis", backup', '"redis",      cache = "redis", backup'),
            "does not serve 'accounts'",
        ),
        (('cache = "redis"', 'cache = "postgres"'), "no cache engine"),
    ],
)
def test_a_table_that_cannot_be_served_is_refused_at_start_up(
    cli: Cli, tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    from neo_polystore.assets import asset

    table = asset("schemas/routing.toml").read_text()
    assert change[0] in table
    path = tmp_path / "routing.toml"
    path.write_text(table.replace(*change, 1))
    answer = cli("db", "status", NEO_ROUTING=str(path))
    assert (answer.code, message in answer.err) == (2, True), answer.err


def test_a_port_in_use_is_said(cli: Cli, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        answer = cli("serve", "--port", port, data=tmp_path / "fresh")
    assert (answer.code, f"127.0.0.1:{port}" in answer.err) == (2, True), answer.err
