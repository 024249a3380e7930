"""`neo-polystore query` on a real data directory: conditions, pages, figures, tables."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Cli

CHAIN = 990_100
COUNT = 7


@pytest.fixture(scope="module")
def stored(here: Cli, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Seven transactions of a chain of their own; answers the condition that selects them."""
    folder = tmp_path_factory.mktemp("query")
    chain = {"chain_id": CHAIN, "name": "Query Chain", "rpc_endpoint": "http://localhost"}
    (folder / "n.jsonl").write_text(json.dumps(chain))
    assert here("load", "networks", str(folder / "n.jsonl")).code == 0
    lines = [
        {
            "chain_id": CHAIN,
            "hash": f"0x{n:064x}",
            "from_address": f"0x{n % 2:040x}",
            "value": str(2**100 + n),
            "status": "confirmed",
            "block_number": 100 + n,
            "block_timestamp": f"2024-05-0{n}T00:00:00Z",
            "nonce": n,
        }
        for n in range(1, COUNT + 1)
    ]
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert here("load", "transactions", str(folder / "t.jsonl")).code == 0
    return ("query", "transactions", "--where", f"chain_id={CHAIN}")


def test_records_carry_amounts_as_digits(here: Cli, stored: tuple[str, ...]) -> None:
    found = here(*stored, "--where", "block_number=103", "--json").json
    assert [(r["value"], r["block_number"]) for r in found["records"]] == [(str(2**100 + 3), 103)]
    assert found["next"] is None


def test_sum_and_count_cover_every_record_that_fits(here: Cli, stored: tuple[str, ...]) -> None:
    assert here(*stored, "--count", "--limit", "2", "--json").json == {"count": COUNT}
    assert here(*stored, "--sum", "value", "--json").json == {"sum": str(7 * 2**100 + 28)}
    assert here(*stored, "--sum", "value").out == f"{7 * 2**100 + 28}\n"
    assert here(*stored, "--count").out == f"{COUNT}\n"


def test_the_sum_of_nothing_is_zero(here: Cli, stored: tuple[str, ...]) -> None:
    nothing = (*stored, "--where", "nonce=999")
    assert here(*nothing, "--sum", "value", "--json").json == {"sum": "0"}
    assert here(*nothing, "--count", "--json").json == {"count": 0}
    assert here(*nothing, "--json").json == {"records": [], "next": None}


def test_distinct_values_are_as_in_records(here: Cli, stored: tuple[str, ...]) -> None:
    found = here(*stored, "--distinct", "from_address", "--json").json
    assert found == {"values": [f"0x{n:040x}" for n in (0, 1)]}
    [first, *_] = here(*stored, "--distinct", "value", "--json").json["values"]
    assert first == str(2**100 + 1)
    assert here(*stored, "--distinct", "status").out == "confirmed\n"


def test_since_is_included_and_until_is_not(here: Cli, stored: tuple[str, ...]) -> None:
    words = ("--since", "2024-05-02", "--until", "2024-05-04T00:00:00Z", "--json")
    found = here(*stored, *words).json["records"]
    assert sorted(r["nonce"] for r in found) == [2, 3]


def test_conditions_compare(here: Cli, stored: tuple[str, ...]) -> None:
    assert here(*stored, "--where", "nonce>=6", "--count", "--json").json == {"count": 2}
    assert here(*stored, "--where", "nonce!=6", "--count", "--json").json == {"count": 6}
    assert here(*stored, "--where", "to_address=", "--count", "--json").json == {"count": COUNT}


def test_pages_follow_each_other_in_order(here: Cli, stored: tuple[str, ...]) -> None:
    seen: list[str] = []
    cursor: list[str] = []
    while True:
        page = here(*stored, "--order", "-value", "--limit", "3", *cursor, "--json").json
        seen += [r["value"] for r in page["records"]]
        if page["next"] is None:
            break
        cursor = ["--after", page["next"]]
    assert seen == [str(2**100 + n) for n in range(COUNT, 0, -1)]


def test_chosen_fields_are_all_that_is_shown(here: Cli, stored: tuple[str, ...]) -> None:
    found = here(*stored, "--fields", "nonce,value", "--limit", "1", "--json").json["records"]
    assert [set(r) for r in found] == [{"nonce", "value"}]
    table = here(*stored, "--fields", "nonce, value").out
    assert "nonce" in table
    assert "hash" not in table


def test_a_table_without_terminal_cuts_nothing_off(cli: Cli, stored: tuple[str, ...]) -> None:
    answer = cli(*stored, COLUMNS="40")
    assert f"0x{3:064x}" in answer.out
    assert str(2**100 + 3) in answer.out


def test_a_document_has_its_own_fields(here: Cli, data: Path) -> None:
    assert here("load", "audit_logs", str(data / "load" / "cloudtrail.json")).code == 0
    words = ("query", "audit_logs", "--where", "event_name=CreateBucket", "--json")
    [found] = here(*words).json["records"]
    assert found["_id"] == "00000000-0000-4000-8000-000000000002"
    assert found["changes"]["responseElements"] == {"ok": True}
    assert found["timestamp"].startswith("2024-05-01T10:00:00")


def test_a_line_cannot_steer_the_terminal(here: Cli, tmp_path: Path) -> None:
    system = uuid4().hex
    (tmp_path / "x.log").write_bytes(b"\x1b[31mred [bold]alert[/bold]\x1b[2J\n")
    assert here("load", "logs", str(tmp_path / "x.log"), "--system", system).code == 0
    shown = here("query", "logs", "--where", f"system={system}").out
    assert "\x1b" not in shown
    assert r"\x1b[31mred [bold]alert[/bold]" in shown


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cache",), "holds no records"),
        (("limits",), "holds no records"),
        (("receipts",), "transactions"),
        (("nonsense",), "transactions"),
        (("transactions", "--where", "colour=red"), "colour"),
        (("transactions", "--where", "nonce"), "field=value"),
        (("transactions", "--where", "nonce=many"), "nonce"),
        (("transactions", "--since", "soon"), "soon"),
        (("networks", "--since", "24h"), "no time"),
        (("transactions", "--text", "x"), "no text"),
        (("transactions", "--order", "to_address"), "to_address"),
        (("transactions", "--limit", "0"), "limit"),
        (("transactions", "--sum", "hash"), "no number"),
        (("transactions", "--sum", "colour"), "colour"),
        (("transactions", "--distinct", "colour"), "colour"),
        (("transactions", "--fields", "colour"), "colour"),
        (("transactions", "--fields", ","), "--fields"),
        (("transactions", "--count", "--sum", "value"), "one of"),
    ],
)
def test_wrong_usage_ends_with_2_before_any_store_is_opened(
    here: Cli, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    answer = here("query", *words, data=tmp_path / "fresh")
    assert (answer.code, answer.out) == (2, "")
    assert told in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert not (tmp_path / "fresh").exists()


def test_a_cursor_of_another_query_is_refused(here: Cli, stored: tuple[str, ...]) -> None:
    answer = here(*stored, "--after", "nonsense")
    assert (answer.code, "cursor" in answer.err) == (2, True)
