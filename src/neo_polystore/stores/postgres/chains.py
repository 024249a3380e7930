"""What the ports of on-chain records share: networks by chain id, and keys that begin with one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from neo_polystore.pgkit.select import Bind, Selection
from neo_polystore.records.query import Filter
from neo_polystore.stores.postgres.merge import Refusal

NO_NETWORK = Refusal("chain_id", "no network has this chain id: load it first")

_KEY = re.compile(r"(\d{1,19}):([^\x00]{1,255})")


@dataclass(frozen=True)
class ChainSelection(Selection):
    """Records of networks; `network` is their network's id.

    A chain id is turned into that id before the statement runs, not joined to: only then does
    the planner see that one chain's records come out of the key's index in order.
    """

    network: str = ""

    def condition(self, item: Filter, bind: Bind) -> str:
        """The SQL of one filter."""
        if (item.field, item.operator) == ("chain_id", "eq") and item.value is not None:
            chosen = f"SELECT id FROM blockchain.networks WHERE chain_id = {bind(item.value)}"
            return f"{self.network} = ({chosen})"
        return super().condition(item, bind)


def split_key(key: str) -> tuple[int, str] | None:
    """Chain id and rest of a `{chain_id}:{rest}` key, hexadecimal in lower case; None if none."""
    match = _KEY.fullmatch(key)
    if match is None or int(match[1]) >= 2**63:
        return None
    rest = match[2]
    return int(match[1]), rest.lower() if rest.startswith(("0x", "0X")) else rest
