"""Wallets: immutable once stored, owned by a user of the scope's tenant."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.wallets import Wallet


class Wallets(Records[Wallet], Protocol):
    """Addresses by chain. An unknown chain or owner rejects the record that names it.

    An address that another tenant holds on that network is rejected without telling whose it is.
    """
