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


def test_a_hold_is_placed_minded_shown_and_released(here: Cli, old: str) -> None:
    placed = here("hold", "add", "audit_logs", "--key", old, "--reason", "case 7", "--json").json
    assert placed["covers"] == {"audit_logs": 1}
    number = str(placed["hold"]["id"])
    [dry] = here("retention", "apply", "audit_logs", "--dry-run", "--json").json
    assert (dry["held"], dry["holds"]) == (1, [int(number)])
    assert "case 7" in here("hold", "list").out
    [done] = here("retention", "apply", "audit_logs", "--json").json["done"]
    assert (done["outcome"], done["held"]) == ("held", 1)
    assert here("hold", "release", number, "--reason", "over").code == 0
    assert here("hold", "release", number, "--reason", "over").code == 1
    [done] = here("retention", "apply", "audit_logs", "--json").json["done"]
    assert done["deleted"] == 1


def test_what_is_no_hold_is_refused(here: Cli) -> None:
    refused = here("hold", "add", "logs", "--where", "colour=red", "--reason", "x")
    assert (refused.code, "no field 'colour'" in refused.err) == (2, True)


def test_the_policy_names_every_data_type(here: Cli) -> None:
    rules = {rule["data_type"]: rule for rule in here("retention", "policy", "--json").json}
    assert (rules["events"]["age"], rules["events"]["archive"]) == ("5 years", True)
    assert rules["wallets"]["age"] is None


def test_no_archive_has_that_name(here: Cli) -> None:
    refused = here("retention", "archive", "show", "logs/none.parquet")
    assert (refused.code, "there is no archive" in refused.err) == (1, True)
    assert here("retention", "archive", "list", "logs", "--json").json == []
