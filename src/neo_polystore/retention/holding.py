"""Adding and releasing holds: refused before anything is stored, in force when it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from neo_polystore.errors import PolystoreError, UnavailableError, UnsupportedError, UsageError
from neo_polystore.polystore import Polystore
from neo_polystore.ports.holds import Hold, HoldDraft, Holds
from neo_polystore.ports.retention import Ages, Automatic
from neo_polystore.records.query import Query
from neo_polystore.records.scope import SYSTEM
from neo_polystore.retention.holds import kind_of, names_tenants, query_of
from neo_polystore.retention.service import Retention


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold, and how many records it covers now, by data type (None: all there are)."""

    hold: Hold
    covers: dict[str, int | None]


class Holding:
    """The holds of an open facade."""

    def __init__(self, polystore: Polystore, holds: Holds, retention: Retention):
        self._polystore = polystore
        self._holds = holds
        self._retention = retention

    async def find(self, *, released: bool = False) -> Sequence[Hold]:
        """Holds, the newest first."""
        return await self._holds.find(released=released)

    async def add(self, draft: HoldDraft) -> Placed:
        """Place a hold; nothing that it covers is deleted from the moment this returns.

        Without data types it is by tenant, of all data types whose records say whose they are.
        Raises UsageError for a field, key or data type that does not exist, UnsupportedError
        where an engine could not hold it; nothing is on record then.
        """
        if not draft.reason.strip():
            raise UsageError("a hold needs a reason")
        draft = self._complete(draft)
        covers: dict[str, int | None] = {}
        for name in draft.data_types:
            query = query_of(draft, name)
            self._ages(name, draft)
            # asking proves that the engine can: better refused now than not held tonight
            asked = query != Query()
            covers[name] = await self._polystore.records(name).count(query) if asked else None
        trail = self._polystore.audit.within(SYSTEM)
        hold = await self._holds.add(draft)
        try:
            for name in draft.data_types:
                if isinstance(ages := self._ages(name, draft), Automatic):
                    await ages.hold(held=True)
        except PolystoreError as error:
            raise UnavailableError(
                f"hold {hold.id} is on record, but an engine that deletes by itself could not be"
                f" stopped: release it or place another ({error})"
            ) from error
        hold = await self._holds.settled(hold.id)
        details = {"data_types": list(hold.data_types), "reason": hold.reason}
        await trail.record("CREATE", "hold", str(hold.id), actor=hold.added_by, details=details)
        return Placed(hold, covers)

    async def release(self, number: int, *, by: str, reason: str) -> Hold:
        """Release a hold; raises NotFoundError for one that is not there or released already."""
        if not reason.strip():
            raise UsageError("releasing a hold needs a reason")
        trail = self._polystore.audit.within(SYSTEM)
        hold = await self._holds.release(number, by=by, reason=reason)
        details = {"data_types": list(hold.data_types), "reason": reason}
        await trail.record("DELETE", "hold", str(number), actor=by, details=details)
        for name in hold.data_types:
            if not (await self._holds.standing(name)).holds and name in self._polystore.ports:
                rule = self._retention.policy.rules[name]
                if isinstance(ages := self._retention.ages(rule), Automatic):
                    await ages.hold(held=False)
        return hold

    def _complete(self, draft: HoldDraft) -> HoldDraft:
        if draft.data_types:
            names = tuple(dict.fromkeys(draft.data_types))
        elif draft.tenant is None or kind_of(draft) != "tenant":
            raise UsageError("name the data types to hold, or a tenant alone")
        else:
            names = tuple(
                rule.data_type
                for rule in self._retention.rules()
                if (ages := self._retention.ages(rule)) is not None
                and "tenant" in ages.holds_by
                and names_tenants(rule.data_type)
            )
        return replace(draft, data_types=names)

    def _ages(self, data_type: str, draft: HoldDraft) -> Ages:
        [rule] = self._retention.rules([data_type])
        ages = self._retention.ages(rule)
        if ages is None:
            raise UnsupportedError(
                f"{data_type} cannot be held: retention never deletes it ({rule.why or rule.keep})"
            )
        if (kind := kind_of(draft)) not in ages.holds_by:
            choice = ", ".join(sorted(ages.holds_by))
            raise UnsupportedError(
                f"{data_type} in {rule.engine} cannot be held by {kind}, only by {choice}"
            )
        return ages
