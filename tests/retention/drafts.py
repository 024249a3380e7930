"""Holds to be."""

from __future__ import annotations

from typing import Any

from neo_polystore.ports.holds import HoldDraft


def draft(*data_types: str, **fields: Any) -> HoldDraft:
    """A hold that a test adds."""
    return HoldDraft(data_types, **{"reason": "case 7", "added_by": "test", **fields})
