"""Transactions of a chain, and the receipts that complete them. Amounts are in wei."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from neo_polystore.records.base import Address, Amount, Hash32, Record, Text, Utc
from neo_polystore.records.networks import ChainId

Status = Literal["pending", "confirmed", "failed", "dropped"]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Transaction(Record):
    """`to_address` is absent where the transaction creates a contract; `input_data` is 0x hex.

    `block_timestamp` is the time of the block that holds it, absent while pending.
    """

    data_type: ClassVar[str] = "transactions"
    time_field: ClassVar[str | None] = "block_timestamp"

    chain_id: ChainId
    hash: Hash32
    from_address: Address
    to_address: Address | None = None
    value: Amount = 0
    gas_price: Amount | None = None
    gas_limit: Count | None = None
    gas_used: Count | None = None
    nonce: Count | None = None
    input_data: Text | None = None
    status: Status = "pending"
    block_number: Count | None = None
    block_timestamp: Utc | None = None
    confirmation_count: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @property
    def key(self) -> str:
        """`{chain_id}:{hash}`."""
        return f"{self.chain_id}:{self.hash}"


class Receipt(Record):
    """What mining a transaction came to. `status` is absent before Byzantium (EIP-658)."""

    data_type: ClassVar[str] = "receipts"

    chain_id: ChainId
    transaction_hash: Hash32
    gas_used: Count
    status: Literal[0, 1] | None = None

    @property
    def key(self) -> str:
        """The key of the transaction it belongs to."""
        return f"{self.chain_id}:{self.transaction_hash}"
