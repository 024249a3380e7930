"""Fields that a collection's file says are made from others: its `derived`, and what makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from neo_polystore.records.abi import abi_fields

DERIVED: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"abi": abi_fields}
"""They replace what a caller gives for these fields, so that they always agree with their source.
What makes them may raise ValidationError."""
