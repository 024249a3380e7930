"""Rate limits from the command line."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Cli

POLICIES = """
[policies.logins]
algorithm = "sliding_window"
limit = 2
on_failure = "closed"

[routes]
"/api/store/*" = ["logins"]
"""


@pytest.fixture
def name() -> str:
    return f"cli-{uuid4().hex[:8]}"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "limits.toml"
    path.write_text(POLICIES)
    return str(path)


def test_a_policy_is_checked_shown_and_reset(here: Cli, name: str, file: str) -> None:
    first = here("limits", "check", name, "logins", "--json", NEO_LIMITS=file)
    assert (first.code, first.json["remaining"]) == (0, 1)
    assert here("limits", "check", name, "logins", NEO_LIMITS=file).code == 0
    refused = here("limits", "check", name, "logins", NEO_LIMITS=file)
    assert refused.code == 1
    assert "try again in" in refused.out
    assert "0 of 2 left" in here("limits", "show", name, "logins", NEO_LIMITS=file).out
    for words, changed in ((("--dry-run",), True), ((), False)):
        found = here("limits", "reset", name, "logins", "--json", *words, NEO_LIMITS=file).json
        assert found == {"reset": 1, "dry_run": changed}
    shown = here("limits", "show", name, "logins", "--json", NEO_LIMITS=file)
    assert shown.json["remaining"] == 2


def test_a_limit_can_be_given_in_words(here: Cli, name: str) -> None:
    words = ("--limit", "10", "--window", "5", "--algorithm", "token_bucket", "--burst", "20")
    found = here("limits", "check", name, "e", *words, "--cost", "15", "--json").json
    assert (found["limit"], found["remaining"]) == (20, 5)
    never = here("limits", "show", name, "e", *words, "--cost", "21")
    assert "above the 20" in never.out


def test_policies_are_listed_with_their_routes(here: Cli, file: str) -> None:
    shown = here("limits", "policies", NEO_LIMITS=file).out
    assert "/api/store/*" in shown
    assert "closed" in shown
    found = here("limits", "policies", "--json", NEO_LIMITS=file).json
    assert found["routes"] == {"/api/store/*": ["logins"]}
    assert found["policies"]["logins"]["limit"]["limit"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "c", "nobody"), "no rate-limit policy 'nobody'"),
        (("check", "c", "e", "--limit", "0"), "limit must be"),
        (("check", "c", "e", "--limit", "5", "--cost", "0"), "cost must be"),
        (("check", "c", "e", "--limit", "5", "--algorithm", "leaky"), "no algorithm 'leaky'"),
        (("check", "", "e", "--limit", "5"), "client"),
    ],
)
def test_what_makes_no_sense_is_wrong_usage(
    here: Cli, words: tuple[str, ...], message: str
) -> None:
    answer = here("limits", *words)
    assert answer.code == 2
    assert message in answer.err
