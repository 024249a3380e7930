"""Which columns a table of records shows: the chosen ones, or the most telling that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neo_polystore.cli.text import cell
from neo_polystore.errors import UsageError
from neo_polystore.records.base import Record
from neo_polystore.records.documents import Document
from neo_polystore.records.query import check_field

TELLING: Mapping[str, tuple[str, ...]] = {
    "accounts": ("username", "email", "status", "mfa_enabled", "id"),
    "networks": ("chain_id", "name", "rpc_endpoint", "is_testnet", "is_active"),
    "wallets": ("chain_id", "address", "initial_balance", "wallet_type", "owner"),
    "transactions": ("hash", "value", "status", "block_number", "from_address", "to_address"),
    "contracts": ("chain_id", "address", "contract_type", "name", "verified"),
    "events": ("position", "event_type", "aggregate_id", "event_version", "created_at"),
    "metrics": ("time", "value", "name", "service", "unit", "tags"),
    "logs": ("message", "timestamp", "system", "level", "host"),
    "analytics": ("timestamp", "fact_type", "subject", "value", "dimensions"),
    "sealed": ("data_key", "enclave_id", "policy", "version", "blob", "owner"),
    "objects": ("bucket", "name", "size", "content_type", "modified"),
    "audit_logs": ("timestamp", "action", "resource", "user_id", "resource_id", "success"),
    "contract_metadata": ("name", "address", "network", "format", "tags"),
}
"""The columns worth seeing first, the most telling at the head."""

MIN_WIDTH = 12
MANY = 6


def choose(fields: str | None, record: type[Record]) -> tuple[str, ...] | None:
    """The fields that `--fields a,b` names, None without it; UsageError for one there is not."""
    if fields is None:
        return None
    names = tuple(name.strip() for name in fields.split(",") if name.strip())
    if not names:
        raise UsageError("--fields names no field")
    for name in names:
        if name != "_id":
            check_field(record, name)
    return names


def value_of(record: Record, name: str) -> object:
    """A field by its name; a dotted one reaches into objects."""
    head, *path = name.split(".")
    if isinstance(record, Document):
        value: object = record.body().get(head)
    else:
        value = getattr(record, head)
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def table(
    records: Sequence[Record], model: type[Record], names: tuple[str, ...] | None, console: Console
) -> tuple[Table, list[str]]:
    """The table and the columns that found no room in it.

    On a terminal, columns without a value, and columns and ends of values that there is no room
    for are left out; of columns that were asked for by name nothing is.
    """
    wanted = list(names or TELLING.get(model.data_type) or tuple(model.model_fields)[:MANY])
    cells = {name: [cell(value_of(record, name)) for record in records] for name in wanted}
    widths: dict[str, int | None] = dict.fromkeys(wanted)
    if names is None and console.is_terminal:
        filled = [name for name in wanted if any(cells[name])] or wanted
        longest = {name: max(map(cell_len, (name, *cells[name]))) for name in filled}
        least = {
            name: length if _is_whole(records, name) else min(MIN_WIDTH, length)
            for name, length in longest.items()
        }
        widths = {**_fit(longest, least, console.width)}
    shown = Table()
    for name, width in widths.items():
        shown.add_column(
            name,
            justify="right" if _is_number(records, name) else "left",
            no_wrap=names is None,
            overflow="fold" if names else "ellipsis",
            width=width,
        )
    for index in range(len(records)):
        # as texts: brackets in them are no markup
        shown.add_row(*(Text(cells[name][index]) for name in widths))
    return shown, [name for name in wanted if name not in widths and any(cells[name])]


def _is_number(records: Sequence[Record], name: str) -> bool:
    values = [value_of(record, name) for record in records]
    return all(
        value is None or (isinstance(value, int | float | Decimal) and not isinstance(value, bool))
        for value in values
    )


def _is_whole(records: Sequence[Record], name: str) -> bool:
    """Whether it would mislead to cut the values: a number without its last digits is another."""
    values = [value_of(record, name) for record in records]
    return any(isinstance(value, int | float | Decimal | datetime) for value in values)


def _fit(longest: dict[str, int], least: dict[str, int], width: int) -> dict[str, int]:
    """As many columns as fit, from the first on, and their widths: the first ones grow first."""
    widths: dict[str, int] = {}
    room = width - 1
    for name in longest:
        if widths and room < least[name] + 3:
            break
        widths[name] = max(min(least[name], room - 3), 1)
        room -= widths[name] + 3
    for name in widths:
        more = max(min(room, longest[name] - widths[name]), 0)
        widths[name] += more
        room -= more
    return widths
