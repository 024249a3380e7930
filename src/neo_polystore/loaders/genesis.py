"""Wallets from the `alloc` of a genesis file in geth's form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from neo_polystore.loaders.base import BadRecord, Item, LoadOptions, build
from neo_polystore.loaders.json_stream import elements, member
from neo_polystore.loaders.source import FileProblem, Source
from neo_polystore.records.wallets import Wallet

_NAMES = {"initial_balance": "balance"}


def genesis(source: Source, options: LoadOptions) -> Iterator[Item]:
    """The accounts of `alloc`, in the order of the file; record n is the nth of them.

    Balances are in wei, decimal or 0x hexadecimal. The chain is the given one, else the
    `config.chainId` of the file; an account with code is of wallet type `contract`.
    """
    chain_id = options.chain_id
    if chain_id is None:
        config = member(source, "config")
        chain_id = config.get("chainId") if isinstance(config, dict) else None
        if not isinstance(chain_id, int):
            raise FileProblem("states no chain: give --chain-id", field="config.chainId")
    for element in elements(source, "alloc"):
        if isinstance(element, BadRecord):
            yield element
        else:
            yield _wallet(element.number, element.name, element.value, chain_id, options)


def _wallet(number: int, name: str, account: Any, chain_id: int, options: LoadOptions) -> Item:
    if not isinstance(account, dict) or account.get("balance") is None:
        return BadRecord(number, "balance", "missing")
    try:
        balance = _quantity(account["balance"])
    except ValueError as error:
        return BadRecord(number, "balance", str(error))
    data = {
        "chain_id": chain_id,
        "address": "0x" + name.removeprefix("0x").removeprefix("0X"),
        "owner": options.owner,
        "wallet_type": "contract" if account.get("code") not in (None, "", "0x") else "external",
        "initial_balance": balance,
    }
    return build(Wallet, data, number, _NAMES)


def _quantity(value: Any) -> Any:
    """A hexadecimal balance as a number; every other form is left for the model to judge."""
    if not (isinstance(value, str) and value[:2] in ("0x", "0X")):
        return value
    digits = value[2:]
    if not digits.isascii() or not digits.isalnum() or len(digits) > 80:
        raise ValueError(f"expected 0x and hexadecimal digits, got {value[:60]!r}")
    try:
        return int(digits, 16)
    except ValueError:
        raise ValueError(f"expected 0x and hexadecimal digits, got {value[:60]!r}") from None
