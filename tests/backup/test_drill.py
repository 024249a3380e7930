"""The drill: everything is lost and comes back."""

from __future__ import annotations

from pathlib import Path

from neo_polystore.ops.drill import run_drill
from neo_polystore.samples import SAMPLED
from tests.backup.conftest import settings_in


async def test_the_drill_brings_everything_back(folder: Path) -> None:
    drill = await run_drill(folder / "drill", settings_in(folder / "unused"))
    assert drill.ok, drill
    assert set(drill.lost) == set(SAMPLED)
    assert drill.recovery_seconds > 0
    assert not (folder / "unused").exists()
