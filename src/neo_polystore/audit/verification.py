"""Finds entries that were changed, removed or added past the trail, and chains that were cut."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Literal
from uuid import UUID

from neo_polystore.audit.digest import digest_of
from neo_polystore.errors import NotFoundError
from neo_polystore.ports.audit import Chains, Head
from neo_polystore.ports.documents import Documents
from neo_polystore.records.documents import Document
from neo_polystore.records.query import Query

Kind = Literal["changed", "missing", "unlinked", "broken", "cut"]

PAGE: Final = 1000
MOST_FINDINGS: Final = 1000
"""As many findings of a day are told one by one; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong: an entry was `changed`, is `missing`, or is `unlinked` (it has no link, so
    nobody can tell what it was); a link does not follow from the one before (`broken`), or the
    chain ends elsewhere than its head says (`cut`)."""

    kind: Kind
    entry: str
    detail: str


@dataclass(slots=True)
class DayVerdict:
    """One chain: `waiting` entries are too young to have their link."""

    day: date
    entries: int = 0
    links: int = 0
    waiting: int = 0
    problems: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def add(self, kind: Kind, entry: str, detail: str) -> None:
        """Count a finding, and keep it while there are not too many."""
        self.problems += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(kind, entry, detail))


def genesis(tenant: UUID, day: date) -> bytes:
    """The hash before the first link; see `ports.audit.Link`."""
    return hashlib.sha256(
        b"neo_polystore audit chain 1" + tenant.bytes + day.isoformat().encode()
    ).digest()


async def verify(
    documents: Documents,
    chains: Chains,
    tenant: UUID,
    *,
    first: date | None,
    last: date | None,
    grace: timedelta,
) -> AsyncIterator[DayVerdict]:
    """A verdict for every day that has a chain or entries, in order; reads each entry once."""
    heads = {head.day: head for head in await chains.heads(tenant, first=first, last=last)}
    to_come = sorted(heads)
    checker = _Checker(documents, chains, tenant, datetime.now(UTC) - grace)
    current: DayVerdict | None = None
    async for entry in _entries(documents, tenant, first, last):
        day = entry.body()["timestamp"].date()
        if current is None or current.day != day:
            if current is not None:
                yield await checker.finish(current, heads.get(current.day))
            while to_come and to_come[0] < day:  # chains without a single entry
                empty = to_come.pop(0)
                yield await checker.finish(DayVerdict(empty), heads[empty])
            to_come = [other for other in to_come if other != day]
            current = DayVerdict(day)
        await checker.take(current, entry)
    if current is not None:
        yield await checker.finish(current, heads.get(current.day))
    for empty in to_come:
        yield await checker.finish(DayVerdict(empty), heads[empty])


class _Checker:
    """Checks a day at a time: its entries against their links, then its links by themselves."""

    def __init__(self, documents: Documents, chains: Chains, tenant: UUID, young: datetime):
        self._documents = documents
        self._chains = chains
        self._tenant = tenant
        self._young = young
        self._page: list[Document] = []
        self._seen: set[str] = set()

    async def take(self, verdict: DayVerdict, entry: Document) -> None:
        """The next entry of the day."""
        self._page.append(entry)
        if len(self._page) == PAGE:
            await self._compare(verdict)

    async def finish(self, verdict: DayVerdict, head: Head | None) -> DayVerdict:
        """The verdict, after the last entry of the day."""
        await self._compare(verdict)
        await self._follow(verdict, head)
        self._seen = set()
        return verdict

    async def _compare(self, verdict: DayVerdict) -> None:
        keys = [entry.key for entry in self._page]
        digests = await self._chains.digests(self._tenant, verdict.day, keys) if keys else {}
        for entry in self._page:
            verdict.entries += 1
            digest = digests.get(entry.key)
            if digest is not None:
                self._seen.add(entry.key)
                if digest != digest_of(entry):
                    verdict.add("changed", entry.key, "is not what was linked")
            elif entry.body()["timestamp"] > self._young:
                verdict.waiting += 1
            else:
                verdict.add("unlinked", entry.key, "has no link: nobody can tell what it was")
        self._page = []

    async def _follow(self, verdict: DayVerdict, head: Head | None) -> None:
        """Compute the chain anew; look for the entries of links that no entry of the day had."""
        expected, number = genesis(self._tenant, verdict.day), 0
        while links := await self._chains.links(
            self._tenant, verdict.day, after=number, limit=PAGE
        ):
            for link in links:
                verdict.links += 1
                expected = hashlib.sha256(expected + link.digest + link.entry.encode()).digest()
                if link.seq != number + 1:
                    verdict.add("broken", link.entry, f"link {number + 1} is missing before it")
                elif link.hash != expected:
                    verdict.add("broken", link.entry, f"link {link.seq} follows from another one")
                expected, number = link.hash, link.seq
                if link.entry not in self._seen:
                    await self._look_for(link.entry, verdict)
        if number and head is None:
            verdict.add("cut", "", "the chain has no head")
        elif head is not None and (head.seq, head.hash) != (number, expected):
            verdict.add("cut", "", f"the chain ends at {number}, its head says {head.seq}")

    async def _look_for(self, entry: str, verdict: DayVerdict) -> None:
        try:
            await self._documents.get(entry)
        except NotFoundError:
            verdict.add("missing", entry, "was linked and is not in the collection")
        else:
            verdict.add("changed", entry, "was moved to another day or tenant")


async def _entries(
    documents: Documents, tenant: UUID, first: date | None, last: date | None
) -> AsyncIterator[Document]:
    """The tenant's entries of these days, in order of time."""
    query = Query(
        since=None if first is None else _midnight(first),
        until=None if last is None else _midnight(last) + timedelta(days=1),
        order="timestamp",
        limit=PAGE,
    ).where("tenant_id", str(tenant))
    while True:
        page = await documents.find(query)
        for entry in page.records:
            yield entry
        if page.next is None:
            return
        query = replace(query, after=page.next)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
