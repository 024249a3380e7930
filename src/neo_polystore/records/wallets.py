"""Wallets: an address on a network, owned by a user of a tenant."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from pydantic import Field

from neo_polystore.ids import SYSTEM_USER
from neo_polystore.records.base import Address, Amount, Record, Text50, Text500
from neo_polystore.records.networks import ChainId


class Wallet(Record):
    """`encrypted_private_key` is ciphertext made by an enclave; it is never shown or logged.

    `initial_balance` is in wei, as a genesis file states it.
    """

    data_type: ClassVar[str] = "wallets"

    chain_id: ChainId
    address: Address
    owner: UUID = SYSTEM_USER
    wallet_type: Text50 = "external"
    public_key: Text500 | None = None
    encrypted_private_key: str | None = Field(default=None, exclude=True, repr=False)
    is_hardware: bool = False
    initial_balance: Amount | None = None

    @property
    def key(self) -> str:
        """`{chain_id}:{address}`."""
        return f"{self.chain_id}:{self.address}"
