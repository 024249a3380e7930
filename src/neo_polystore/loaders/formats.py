"""Which formats each data type is loaded from, and which of them a file has."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from neo_polystore.errors import UsageError
from neo_polystore.loaders import (
    chains,
    cloudevents,
    cloudtrail,
    contract_files,
    ethereum_etl,
    genesis,
    line_protocol,
    lines,
    points,
    sqlite,
)
from neo_polystore.loaders.base import Loader
from neo_polystore.loaders.own import own
from neo_polystore.loaders.source import FileProblem, Source
from neo_polystore.records.base import Record
from neo_polystore.records.catalog import record_types
from neo_polystore.records.transactions import Receipt

OWN = "records"
"""The format that every data type has: this package's own JSON."""


@dataclass(frozen=True, slots=True)
class Format:
    """`looks_like` judges the beginning of a file; `needs` names options it cannot do without."""

    name: str
    description: str
    load: Loader
    looks_like: Callable[[str], bool]
    needs: tuple[str, ...] = ()


def formats_of(data_type: str) -> list[Format]:
    """The formats of a data type, the most telling first; UsageError for an unknown data type."""
    try:
        return _formats()[data_type]
    except KeyError:
        known = ", ".join(sorted(_formats()))
        raise UsageError(f"no data type {data_type!r} can be loaded; there are {known}") from None


def format_named(data_type: str, name: str) -> Format:
    """One format by name; UsageError naming those the data type has."""
    for found in formats_of(data_type):
        if found.name == name:
            return found
    raise UsageError(f"{data_type} has no format {name!r}; it has {_names(data_type)}")


def detect(data_type: str, source: Source) -> Format:
    """The format that the content has; FileProblem for an empty or unknown file."""
    head = source.head()
    if not head:
        raise FileProblem("the file is empty")
    text = head.decode(errors="replace")
    if not text.strip() and data_type != "logs":
        raise FileProblem("the file is empty but for white space")
    for found in formats_of(data_type):
        if found.looks_like(text):
            return found
    raise FileProblem(
        f"has none of the formats of {data_type} ({_names(data_type)});"
        " name the one that it should have with --format",
        field="format",
    )


def _names(data_type: str) -> str:
    return ", ".join(found.name for found in formats_of(data_type))


@lru_cache
def _formats() -> dict[str, list[Format]]:
    table = _foreign()
    models: dict[str, type[Record]] = {**record_types(), Receipt.data_type: Receipt}
    for name, model in models.items():
        looks_like = _own_fields(_TELLING[name]) if name in table else _is_json
        mine = Format(OWN, "records as `query --json` prints them", own(model), looks_like)
        rows = Format(
            "sqlite", "a table of SQLite", sqlite.sqlite(model), sqlite.looks_like, ("table",)
        )
        table[name] = [rows, mine, *table.get(name, [])]
    return table


# Fields that tell our own records from the field's formats of the same data type.
_TELLING = {
    "networks": ("chain_id", "rpc_endpoint"),
    "wallets": ("chain_id", "address"),
    "transactions": ("chain_id", "hash"),
    "receipts": ("chain_id", "transaction_hash"),
    "contracts": ("chain_id", "contract_type"),
    "metrics": ("service", "name"),
    "logs": ("id", "system", "message"),
    "audit_logs": ("user_id", "action"),
    "contract_metadata": ("network", "address"),
    "events": ("aggregate_id", "event_type"),
}


def _foreign() -> dict[str, list[Format]]:
    etl, chain = "ethereum-etl-csv", ("chain_id",)
    etl_lines = "ethereum-etl-jsonl"
    return {
        "networks": [
            Format("ethereum-lists", "chain JSON of ethereum-lists", chains.chains, _is_json)
        ],
        "wallets": [Format("genesis", "geth genesis JSON with alloc", genesis.genesis, _is_json)],
        "transactions": [
            Format(etl_lines, "JSON lines", ethereum_etl.transactions_jsonl, _is_json, chain),
            Format(etl, "transactions.csv", ethereum_etl.transactions_csv, _is_text, chain),
        ],
        "receipts": [
            Format(etl_lines, "JSON lines", ethereum_etl.receipts_jsonl, _is_json, chain),
            Format(etl, "receipts.csv", ethereum_etl.receipts_csv, _is_text, chain),
        ],
        "contracts": [
            Format(etl_lines, "JSON lines", ethereum_etl.contracts_jsonl, _is_json, chain),
            Format(etl, "contracts.csv", ethereum_etl.contracts_csv, _is_text, chain),
        ],
        "metrics": [
            Format(
                "line-protocol",
                "InfluxDB line protocol, times in nanoseconds",
                line_protocol.lines,
                line_protocol.looks_like,
            ),
            Format("csv", "CSV with timestamp,value", points.points, _is_text, ("service",)),
        ],
        "logs": [Format("lines", "plain lines", lines.lines, lambda text: True, ("system",))],
        "audit_logs": [
            Format("cloudtrail", "AWS CloudTrail", cloudtrail.cloudtrail, _has_names("Records"))
        ],
        "contract_metadata": [
            Format("abi", "a bare ABI array", contract_files.abi, _starts_with("[")),
            Format(
                "solidity-metadata",
                "Solidity metadata.json",
                contract_files.solidity_metadata,
                _has_names("compiler", "output"),
            ),
            Format("hardhat", "Hardhat artifact", contract_files.hardhat, _has_names("abi")),
        ],
        "events": [Format("cloudevents", "CloudEvents 1.0", cloudevents.cloudevents, _is_json)],
    }


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[")


def _is_text(text: str) -> bool:
    return not _is_json(text)


def _starts_with(character: str) -> Callable[[str], bool]:
    return lambda text: text.lstrip()[:1] == character


def _has_names(*names: str) -> Callable[[str], bool]:
    """An object in whose beginning all of these names stand, at whatever depth."""
    patterns = [re.compile(rf'"{name}"\s*:') for name in names]
    return lambda text: _starts_with("{")(text) and all(p.search(text) for p in patterns)


def _own_fields(names: tuple[str, ...]) -> Callable[[str], bool]:
    """The first record, of lines, an array or an answer of `query`, has all of these fields."""

    def looks_like(text: str) -> bool:
        text = re.sub(r'^\s*\{\s*"records"\s*:\s*', "", text)
        try:
            first, _ = json.JSONDecoder().raw_decode(text.lstrip().removeprefix("[").lstrip())
        except (ValueError, RecursionError):
            return False
        return isinstance(first, dict) and all(name in first for name in names)

    return looks_like
