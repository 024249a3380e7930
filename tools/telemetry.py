"""`python -m tools.telemetry`: writes the table of metrics in `docs/observability.md`."""

from __future__ import annotations

import re
from pathlib import Path

from neo_polystore.ops.telemetry.families import FAMILIES

PAGE = Path(__file__).parents[1] / "docs" / "observability.md"

_TABLE = re.compile(r"^\| metric \|.*?(?=\n\n|\Z)", re.DOTALL | re.MULTILINE)


def table() -> str:
    """A row per family, as the code declares it."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in FAMILIES.values():
        labels = ", ".join(f"`{label}`" for label in family.labels) or "none"
        rows.append(f"| `{family.name}` | {family.kind} | {labels} | {family.help} |")
    return "\n".join(rows)


def with_table(page: str) -> str:
    """The page with the table in the old one's place; ValueError for a page without any."""
    found, times = _TABLE.subn(lambda _: table(), page)
    if times != 1:
        raise ValueError(f"{PAGE.name} has {times} tables of metrics, expected one")
    return found


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
