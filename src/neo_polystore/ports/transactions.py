"""Transactions: what the chain says does not change, how far it has got does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.results import Written
from neo_polystore.records.transactions import Receipt, Transaction


class Transactions(Records[Transaction], Protocol):
    """Transactions by chain and hash; immutable for `write`. An unknown chain is rejected."""

    async def apply_receipts(self, receipts: Sequence[Receipt]) -> Written:
        """Set gas used, and `failed` where the status is 0 (`confirmed` where it is 1).

        `replaced` counts transactions that changed, `existing` those that already said so. A
        receipt of a transaction that is not stored is rejected.
        """
