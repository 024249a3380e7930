"""A run in a few figures, for those who only look at it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from neo_polystore.backup.manifest import Manifest
from neo_polystore.backup.runs import Run


def summary(manifest: Manifest) -> dict[str, Any]:
    """A run without the list of its parts."""
    return {
        "run": manifest.id,
        "started": manifest.started,
        "finished": manifest.finished,
        "encrypted": manifest.key_id is not None,
        "versions": manifest.versions,
        "stores": [
            {
                **store.model_dump(exclude={"streams"}),
                "rows": store.rows,
                "content_bytes": sum(stream.content_bytes for stream in store.streams),
                "stored_bytes": store.stored_bytes,
                "streams": len(store.streams),
            }
            for store in manifest.stores
        ],
    }


def listed(run: Run) -> dict[str, Any]:
    """A run of a list, with its age."""
    found = asdict(run)
    age = round((datetime.now(UTC) - run.started).total_seconds())
    return {"run": found.pop("id"), "bytes": found.pop("size"), **found,
            "started": run.started, "age_seconds": age}  # fmt: skip
