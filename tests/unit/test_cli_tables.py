"""Which columns of a table fit, and how values look in it."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from rich.console import Console

from neo_polystore.cli import columns
from neo_polystore.cli.text import cell, printable
from neo_polystore.errors import UsageError
from neo_polystore.records.networks import Network
from neo_polystore.records.transactions import Transaction

TRANSACTION = Transaction(
    chain_id=1, hash="0x" + "ab" * 32, from_address="0x" + "1" * 40, value=10**24
)


def draw(width: int, *, fields: tuple[str, ...] | None = None) -> tuple[list[str], list[str]]:
    """The lines of a table on a terminal of this width, and the columns left out."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    table, missing = columns.table([TRANSACTION], Transaction, fields, console)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines(), missing


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 300])
def test_a_table_is_never_wider_than_the_terminal(width: int) -> None:
    lines, _ = draw(width)
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_shows_the_most_telling_columns() -> None:
    lines, missing = draw(50)
    assert "hash" in lines[1]
    assert "value" in lines[1]
    assert missing[-1] == "from_address"


def test_a_number_is_shown_whole_or_not_at_all() -> None:
    for width in range(30, 120):
        lines, missing = draw(width)
        assert "value" in missing or str(TRANSACTION.value) in lines[3]


def test_columns_without_any_value_are_left_out() -> None:
    lines, missing = draw(300)
    assert "to_address" not in lines[1]
    assert missing == []


def test_a_wide_terminal_shows_them_all_uncut() -> None:
    lines, missing = draw(300)
    assert missing == []
    assert TRANSACTION.hash in "".join(lines)


def test_columns_that_were_asked_for_are_never_left_out() -> None:
    lines, missing = draw(40, fields=("nonce", "value", "hash", "status"))
    assert missing == []
    assert "nonce" in lines[1]
    cells = [line.split("│")[3].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == TRANSACTION.hash


def test_every_data_type_with_records_has_telling_columns() -> None:
    from neo_polystore.records.catalog import record_types
    from neo_polystore.records.documents import Document

    assert set(columns.TELLING) == set(record_types())
    for name, model in record_types().items():
        if not issubclass(model, Document):
            assert set(columns.TELLING[name]) <= set(model.model_fields)


def test_a_field_that_does_not_exist_is_refused() -> None:
    assert columns.choose(None, Network) is None
    assert columns.choose("name, chain_id", Network) == ("name", "chain_id")
    with pytest.raises(UsageError, match="colour"):
        columns.choose("colour", Network)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (10**24, "1" + "0" * 24),
        (Decimal("1E-18"), "0.000000000000000001"),
        (0.5, "0.5"),
        (datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01 00:00:00Z"),
        (b"abc", "<3 bytes>"),
        ({}, ""),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ("two\nlines\x1b[2J", r"two\nlines\x1b[2J"),
    ],
)
def test_values_take_one_line_and_lose_no_digit(value: object, text: str) -> None:
    assert cell(value) == text


def test_text_without_control_characters_stays_as_it_is() -> None:
    assert printable("Grüße, 世界 [bold]") == "Grüße, 世界 [bold]"
