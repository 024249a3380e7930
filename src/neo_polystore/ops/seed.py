"""Writes the samples through the facade, so that an empty installation has something to show."""

from __future__ import annotations

from dataclasses import dataclass

from neo_polystore.polystore import Polystore
from neo_polystore.records.scope import Scope
from neo_polystore.samples import SAMPLED, samples


@dataclass(frozen=True, slots=True)
class Seeded:
    """One data type: how many samples there are, and how many were not there yet."""

    data_type: str
    store: str
    samples: int
    new: int = 0
    existing: int = 0
    rejected: int = 0


async def seed(polystore: Polystore, scope: Scope, *, dry_run: bool = False) -> list[Seeded]:
    """Write every sample, those first that others refer to. A second time changes nothing."""
    lines = []
    for data_type in SAMPLED:
        store, records = polystore.routing[data_type].primary, samples(data_type)
        if dry_run:
            lines.append(Seeded(data_type, store, len(records)))
            continue
        written = await polystore.records(data_type, scope).write(records)
        lines.append(
            Seeded(
                data_type,
                store,
                len(records),
                written.new,
                written.existing + written.replaced,
                len(written.rejected),
            )
        )
    return lines
