"""`neo-polystore audit`, as an operator has it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from uuid import uuid4

from tests.cli.conftest import Cli


def test_an_entry_is_recorded_found_exported_and_verified(here: Cli, tmp_path: Path) -> None:
    tenant = str(uuid4())
    mine = ("--tenant", tenant)
    done = here(
        "audit", "record", "execute", "restore", "run-7", "--actor", "ops", *mine, "--json"
    ).json
    assert done["consistency"] == "committed"
    [entry] = here("audit", "search", "--actor", "ops", *mine, "--json").json["entries"]
    assert (entry["_id"], entry["action"], entry["resource_id"]) == (done["id"], "EXECUTE", "run-7")
    assert "restore" in here("audit", "search", "--resource", "restore", *mine).out

    line = here("audit", "export", *mine).out
    assert json.loads(line)["_id"] == done["id"]
    target = tmp_path / "entries.csv"
    assert here("audit", "export", str(target), "--format", "csv", *mine).code == 0
    with target.open() as file:
        assert [row["_id"] for row in csv.DictReader(file)] == [done["id"]]
    assert here("audit", "export", str(target), *mine).code == 2

    verdict = here("audit", "verify", *mine, "--json").json
    assert (verdict["sound"], verdict["days"][0]["links"]) == (True, 1)
    assert "every entry is as it was linked" in here("audit", "verify", *mine).out


def test_a_failure_is_recorded_with_its_reason(here: Cli) -> None:
    mine = ("--tenant", str(uuid4()))
    here("audit", "record", "DELETE", "bucket", "--failed", "no such bucket", *mine)
    [entry] = here("audit", "search", *mine, "--json").json["entries"]
    assert (entry["success"], entry["error_message"]) == (False, "no such bucket")


def test_a_tenant_without_entries_has_none(here: Cli) -> None:
    mine = ("--tenant", str(uuid4()))
    assert here("audit", "search", *mine).out == "no entries\n"
    assert here("audit", "verify", *mine).out == "no entries\n"
    assert here("audit", "export", *mine).out == ""


def test_an_unknown_action_is_wrong_usage(here: Cli) -> None:
    answer = here("audit", "search", "--action", "explode")
    assert answer.code == 1
    assert "CREATE" in answer.err


def test_link_says_how_many(here: Cli) -> None:
    assert here("audit", "link", "--json").json["linked"] == {}
