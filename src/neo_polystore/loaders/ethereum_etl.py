"""Transactions, receipts and contracts as ethereum-etl exports them: CSV or JSON lines.

Columns: https://ethereum-etl.readthedocs.io/en/latest/schema/. Amounts are decimal wei, times are
Unix seconds, an empty cell or null means absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build, read_time
from neo_polystore.loaders.csv_rows import Row, csv_rows
from neo_polystore.loaders.json_text import json_lines
from neo_polystore.loaders.source import Source
from neo_polystore.records.contracts import Contract
from neo_polystore.records.transactions import Receipt, Transaction

Read = Callable[[int, Mapping[str, Any], LoadOptions], Item]

TRANSACTION_COLUMNS = (
    "hash",
    "nonce",
    "block_number",
    "from_address",
    "to_address",
    "value",
    "gas",
    "gas_price",
    "input",
    "block_timestamp",
)
RECEIPT_COLUMNS = ("transaction_hash", "gas_used", "status")
CONTRACT_COLUMNS = ("address", "bytecode", "is_erc20", "is_erc721")

_STATUS: Mapping[object, int | None] = {"": None, None: None, "0": 0, "1": 1, 0: 0, 1: 1}
_TRUTH: Mapping[str, bool] = {"true": True, "false": False, "": False, "none": False}
_TRANSACTION_NAMES = {"gas_limit": "gas", "input_data": "input", "gas_used": "receipt_gas_used"}


def transactions_csv(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`transactions.csv`."""
    return _from_csv(source, options, TRANSACTION_COLUMNS, _transaction)


def transactions_jsonl(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`ethereumetl stream` or `export_...` as JSON lines, with or without `receipt_` fields."""
    return _from_json_lines(source, options, TRANSACTION_COLUMNS, _transaction, "transaction")


def receipts_csv(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`receipts.csv`."""
    return _from_csv(source, options, RECEIPT_COLUMNS, _receipt)


def receipts_jsonl(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`receipts.json`, one object a line."""
    return _from_json_lines(source, options, RECEIPT_COLUMNS, _receipt, "receipt")


def contracts_csv(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`contracts.csv`."""
    return _from_csv(source, options, CONTRACT_COLUMNS, _contract)


def contracts_jsonl(source: Source, options: LoadOptions) -> Iterator[Item]:
    """`contracts.json`, one object a line."""
    return _from_json_lines(source, options, CONTRACT_COLUMNS, _contract, "contract")


def _from_csv(
    source: Source, options: LoadOptions, columns: Sequence[str], read: Read
) -> Iterator[Item]:
    for row in csv_rows(source, columns):
        yield read(row.number, row.cells, options) if isinstance(row, Row) else row


def _from_json_lines(
    source: Source, options: LoadOptions, columns: Sequence[str], read: Read, kind: str
) -> Iterator[Item]:
    for line in json_lines(source):
        if isinstance(line, BadRecord):
            yield line
        elif (found := line.value.get("type", kind)) != kind:
            yield BadRecord(line.number, "type", f"expected {kind!r}, got {str(found)[:40]!r}")
        elif missing := [name for name in columns if name not in line.value]:
            yield BadRecord(line.number, missing[0], f"missing: {', '.join(missing)}")
        else:
            yield read(line.number, line.value, options)


def _transaction(number: int, cells: Mapping[str, Any], options: LoadOptions) -> Item:
    """A mined transaction is `confirmed`, or `failed` where its receipt says so."""
    mined = _present(cells["block_number"]) is not None
    timestamp = _present(cells["block_timestamp"])
    try:
        receipt_status = _receipt_status(cells.get("receipt_status"))
    except ValueError as error:
        return BadRecord(number, "receipt_status", str(error))
    try:
        block_timestamp = None if timestamp is None else read_time(timestamp)
    except ValueError as error:
        return BadRecord(number, "block_timestamp", str(error))
    data = {
        "chain_id": options.chain_id,
        "hash": cells["hash"],
        "from_address": cells["from_address"],
        "to_address": _present(cells["to_address"]),
        "value": cells["value"],
        "gas_price": _present(cells["gas_price"]),
        "gas_limit": _present(cells["gas"]),
        "gas_used": _present(cells.get("receipt_gas_used")),
        "nonce": _present(cells["nonce"]),
        "input_data": _present(cells["input"]),
        "status": "failed" if receipt_status == 0 else "confirmed" if mined else "pending",
        "block_number": _present(cells["block_number"]),
        "block_timestamp": block_timestamp,
    }
    return build(Transaction, data, number, _TRANSACTION_NAMES)


def _receipt(number: int, cells: Mapping[str, Any], options: LoadOptions) -> Item:
    try:
        status = _receipt_status(cells["status"])
    except ValueError as error:
        return BadRecord(number, "status", str(error))
    data = {
        "chain_id": options.chain_id,
        "transaction_hash": cells["transaction_hash"],
        "gas_used": cells["gas_used"],
        "status": status,
    }
    return build(Receipt, data, number)


def _contract(number: int, cells: Mapping[str, Any], options: LoadOptions) -> Item:
    """`contract_type` is what ethereum-etl recognised: `erc20`, `erc721`, or `other`."""
    contract_type = "other"
    for name in ("is_erc20", "is_erc721"):
        truth = _TRUTH.get(str(cells[name]).strip().lower())
        if truth is None:
            return BadRecord(number, name, f"expected True or False, got {str(cells[name])[:40]!r}")
        if truth:
            contract_type = name.removeprefix("is_")
    data = {
        "chain_id": options.chain_id,
        "address": cells["address"],
        "contract_type": contract_type,
        "bytecode": _present(cells["bytecode"]),
    }
    return build(Contract, data, number)


def _present(value: Any) -> Any:
    return None if value == "" else value


def _receipt_status(value: Any) -> int | None:
    """EIP-658: 1 success, 0 failure, absent before Byzantium; raises ValueError."""
    key = value.strip() if isinstance(value, str) else value
    if isinstance(key, str | int | None) and key in _STATUS:
        return _STATUS[key]
    raise ValueError(f"expected 0, 1 or nothing, got {str(value)[:40]!r}")
