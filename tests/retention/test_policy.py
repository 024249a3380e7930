"""The policy: what it says of each data type, and what it refuses at start, with the reason."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from neo_polystore.build import open_polystore
from neo_polystore.errors import ConfigError
from neo_polystore.ports.retention_policy import Age, Policy
from neo_polystore.retention.policy import load_policy
from neo_polystore.routing import load_routing
from neo_polystore.settings import Settings


def load(path: Path | None = None) -> Policy:
    return load_policy(load_routing("embedded"), path, bucket="archive", cron="30 3 * * *")


def written(folder: Path, *rules: str) -> Path:
    path = folder / "retention.toml"
    path.write_text("\n".join(f"[[rule]]\n{rule}" for rule in rules))
    return path


def test_the_table_keeps_what_the_requirements_say() -> None:
    rules = load().rules
    kept = {name: str(rule.age) for name, rule in rules.items() if rule.age}
    assert kept == {
        "transactions": "7 years",
        "events": "5 years",
        "audit_logs": "7 years",
        "logs": "90 days",
        "analytics": "1 year",
    }
    assert {name for name, rule in rules.items() if rule.archive} == {"transactions", "events"}


def test_a_rule_of_the_file_stands_in_for_the_tables(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        'data_type = "logs"\nkeep = "1 week"\narchive = true',
        'data_type = "objects"\nkeep = "3 months"',
        'data_type = "events"\nkeep = "indefinite"',
        'data_type = "accounts"\nkeep = "indefinite"',
    )
    rules = load(path).rules
    assert (rules["logs"].age, rules["logs"].archive) == (Age(1, "week"), True)
    assert rules["objects"].age == Age(3, "month")
    assert (rules["events"].age, rules["events"].archive) == (None, False)
    assert rules["analytics"].source == "routing table"


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (['data_type = "logs"\nkeep = "0 days"'], "would delete everything"),
        (['data_type = "logs"\nkeep = "-3 days"'], "would delete everything"),
        (['data_type = "logs"\nkeep = "soon"'], "expected an age"),
        (['data_type = "logs"\nkeep = "9999999 years"'], "longer than 1,000 years"),
        (['data_type = "logs"\nkeep = 90'], "rule.0.keep"),
        (['data_type = "logs"\nkeep = "1 day"'] * 2, "two rules for logs"),
        (['data_type = "log"\nkeep = "1 day"'], "unknown data type 'log'"),
        (['data_type = "accounts"\nkeep = "1 day"'], "accounts never age"),
        (['data_type = "cache"\nkeep = "1 day"'], "a time of its own"),
        (['data_type = "metrics"\nkeep = "1 day"'], "NEO_METRICS_RAW"),
        (['data_type = "contract_metadata"\nkeep = "1 day"'], "has no time_field"),
        (['data_type = "objects"\nkeep = "1 day"\narchive = true'], "objects are not archived"),
        (['data_type = "logs"\nkeep = "1 day"\nfor = "x"'], "rule.0.for"),
        (['data_type = "logs"'], "rule.0.keep"),
        (["data_type"], "policy"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_reason(
    tmp_path: Path, rules: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(written(tmp_path, *rules))


async def test_a_wrong_policy_keeps_the_platform_from_opening(
    tmp_path: Path, settings: Settings
) -> None:
    path = written(tmp_path, 'data_type = "logs"\nkeep = "0 days"')
    with pytest.raises(ConfigError, match="logs: '0 days'"):
        async with open_polystore(settings.model_copy(update={"neo_retention": path})):
            pass


@pytest.mark.parametrize(
    ("age", "now", "before"),
    [
        ("1 year", "2024-02-29", "2023-02-28"),
        ("1 month", "2026-03-31", "2026-02-28"),
        ("1 month", "2024-03-30", "2024-02-29"),
        ("13 months", "2026-01-15", "2024-12-15"),
        ("90 days", "2026-03-31", "2025-12-31"),
        ("2 weeks", "2026-03-15", "2026-03-01"),
        ("1000 years", "0500-01-01", "0001-01-01"),
    ],
)
def test_ages_count_as_the_calendar_does(age: str, now: str, before: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    found = Age.parse(age, where="test").before(moment)
    assert found == datetime.fromisoformat(before).replace(tzinfo=UTC)
