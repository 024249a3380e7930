"""Contracts: mutable (verification adds source and ABI later), global."""

from __future__ import annotations

from typing import Protocol

from neo_polystore.ports.records import Records
from neo_polystore.records.contracts import Contract


class Contracts(Records[Contract], Protocol):
    """Contracts by chain and address. A changed contract replaces the stored one."""
