"""Retention and holds from the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest_asyncio

from neo_polystore.polystore import Polystore
from tests.cli.conftest import Cli


@pytest_asyncio.fixture(loop_scope="session")
async def old(polystore: Polystore) -> str:
    """The key of an audit entry that is past its time."""
    port = polystore.documents("audit_logs")
    key = uuid4().hex
    time = datetime.now(UTC) - timedelta(days=365 * 9)
    body = {"_id": key, "timestamp": time, "user_id": "u", "action": "READ", "resource": "r"}
    assert (await port.write([port.record.parse(body)])).new == 1
    return key


def test_a_hold_is_placed_minded_shown_and_released(cli: Cli, old: str) -> None:
    placed = cli("hold", "add", "audit_logs", "--key", old, "--reason", "case 7", "--json").json
    assert placed["covers"] == {"audit_logs": 1}
    number = str(placed["hold"]["id"])
    [dry] = cli("retention", "apply", "audit_logs", "--dry-run", "--json").json
    assert (dry["held"], dry["holds"]) == (1, [int(number)])
    assert "case 7" in cli("hold", "list").out
    [done] = cli("retention", "apply", "audit_logs", "--json").json["done"]
    assert (done["outcome"], done["held"]) == ("held", 1)
    assert cli("hold", "release", number, "--reason", "over").code == 0
    assert cli("hold", "release", number, "--reason", "over").code == 1
    [done] = cli("retention", "apply", "audit_logs", "--json").json["done"]
    assert done["deleted"] == 1


def test_what_is_no_hold_is_refused(cli: Cli) -> None:
    refused = cli("hold", "add", "logs", "--where", "colour=red", "--reason", "x")
    assert (refused.code, "no field 'colour'" in refused.err) == (2, True)


def test_the_policy_names_every_data_type(cli: Cli) -> None:
    rules = {rule["data_type"]: rule for rule in cli("retention", "policy", "--json").json}
    assert (rules["events"]["age"], rules["events"]["archive"]) == ("5 years", True)
    assert rules["wallets"]["age"] is None


def test_no_archive_has_that_name(cli: Cli) -> None:
    refused = cli("retention", "archive", "show", "logs/none.parquet")
    assert (refused.code, "there is no archive" in refused.err) == (1, True)
    assert cli("retention", "archive", "list", "logs", "--json").json == []
