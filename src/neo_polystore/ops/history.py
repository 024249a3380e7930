"""What became of the scheduler's runs, page by page."""

from __future__ import annotations

from neo_polystore.errors import NotFoundError
from neo_polystore.ports.scheduling import Ledger, PastRun


async def history(
    ledger: Ledger, job: str | None = None, *, before: int | None = None, limit: int = 100
) -> tuple[list[PastRun], int | None]:
    """Runs, the newest first, and `before` of the next page (None: there is none).

    NotFoundError for a job that no process has ever made known.
    """
    found = await ledger.history(job, before=before, limit=limit + 1)
    if job is not None and not found:
        known = [status.name for status in await ledger.status()]
        if job not in known:
            raise NotFoundError(f"no job {job!r}; there are {', '.join(known)}", store="postgres")
    page = found[:limit]
    return page, page[-1].id if len(found) > limit else None
