"""Which columns a table of records shows: the chosen ones, or the most telling that fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

    On a terminal, columns and ends of values are left out where there is no room for them; of
    columns that were asked for by name nothing is.
    """
    wanted = names or TELLING.get(model.data_type) or tuple(model.model_fields)[:MANY]
    rows = [[cell(value_of(record, name)) for name in wanted] for record in records]
    count = len(wanted)
    if names is None and console.is_terminal:
        count = _how_many(wanted, rows, console.width)
    shown = Table()
    for index, name in enumerate(wanted[:count]):
        numeric = all(isinstance(value_of(r, name), int | float | None) for r in records)
        flag = any(isinstance(value_of(r, name), bool) for r in records)
        longest = max(map(cell_len, (name, *(row[index] for row in rows))))
        shown.add_column(
            name,
            justify="right" if numeric and not flag else "left",
            no_wrap=names is None,
            overflow="ellipsis" if names is None else "fold",
            min_width=min(MIN_WIDTH, longest) if names is None else None,
        )
    for row in rows:
        shown.add_row(*map(Text, row[:count]))  # text: brackets in it are no markup
    return shown, list(wanted[count:])


def _how_many(names: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """How many columns, from the first on, fit with a readable width each."""
    room = width - 1
    for index, name in enumerate(names):
        longest = max([cell_len(name), *(cell_len(row[index]) for row in rows)])
        room -= min(MIN_WIDTH, longest) + 3
        if room < 0:
            return max(index, 1)
    return len(names)
