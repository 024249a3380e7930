"""What the suites of on-chain records share: a network that is there, and made-up addresses."""

from __future__ import annotations

import secrets

from neo_polystore.ports.store import Store
from neo_polystore.records.networks import Network

CHAIN = 1
UNKNOWN_CHAIN = 424242


async def load_network(store: Store) -> None:
    """Have chain 1 stored, whoever asks first."""
    network = Network(chain_id=CHAIN, name="Ethereum Mainnet", rpc_endpoint="https://eth.example")
    await store.port("networks").write([network])


def address() -> str:
    """An address that nobody else uses."""
    return "0x" + secrets.token_hex(20)


def hash32() -> str:
    """A transaction hash that nobody else uses."""
    return "0x" + secrets.token_hex(32)
