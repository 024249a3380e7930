"""Checks named rate-limit policies, and decides for them while their store cannot be asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from neo_polystore.errors import LimitedError, UnavailableError
from neo_polystore.ops.limit_policies import Policies, Policy
from neo_polystore.ports.limits import Check, Decision, Limits


@dataclass(slots=True)
class PolicyCounts:
    """What became of the requests under one policy."""

    admitted: int = 0
    refused: int = 0
    failed_open: int = 0
    failed_closed: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policies that were checked, each with its decision.

    `decisions` is empty where nothing was checked, or nothing could be and all policies are open.
    """

    policies: tuple[Policy, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether every policy admits."""
        return all(decision.allowed for decision in self.decisions)

    @property
    def refused(self) -> list[tuple[Policy, Decision]]:
        """The policies that do not."""
        return [
            (policy, decision)
            for policy, decision in zip(self.policies, self.decisions, strict=False)
            if not decision.allowed
        ]

    @property
    def retry_after(self) -> float | None:
        """Seconds until every policy would admit; None where one never will (cost too high)."""
        waits = [decision.retry_after for _, decision in self.refused]
        known = [wait for wait in waits if wait is not None]
        return None if len(known) < len(waits) else max(known, default=0.0)

    def raise_refusal(self) -> None:
        """Raise LimitedError, saying which policies refused and why, unless all admit."""
        if self.allowed:
            return
        reasons = []
        for policy, decision in self.refused:
            rate = f"{policy.limit.limit} per {policy.limit.window_seconds} s"
            if decision.retry_after is None:
                reasons.append(
                    f"{policy.name} ({rate}): the cost is above the {decision.limit} that are"
                    " ever admitted at once"
                )
            else:
                reasons.append(f"{policy.name} ({rate}): try again in {decision.retry_after:.1f} s")
        raise LimitedError("; ".join(reasons), operation="limits.check")


@dataclass
class Limiter:
    """Named policies over the port `limits`. `counts` tells what became of requests, by policy."""

    limits: Limits
    policies: Policies
    counts: dict[str, PolicyCounts] = field(default_factory=dict)

    async def check(
        self, client: str, *names: str, cost: int | None = None, route: str = ""
    ) -> Verdict:
        """Judge a client's request by these policies, all or nothing, in one round trip.

        `cost` stands in for the policies' own. Raises UsageError for an unknown policy, and
        UnavailableError where the store gave no answer within the shortest time budget and a
        policy fails closed.
        """
        return await self.judge(
            client, [self.policies[name] for name in names], cost=cost, route=route
        )

    async def judge(
        self, client: str, policies: Sequence[Policy], *, cost: int | None = None, route: str = ""
    ) -> Verdict:
        """As `check`, for policies that were looked up already."""
        if not policies:
            return Verdict()
        checks = [
            Check(policy.endpoint(route), policy.limit, policy.cost if cost is None else cost)
            for policy in policies
        ]
        try:
            async with asyncio.timeout(min(policy.time_budget for policy in policies)):
                decisions = await self.limits.check_all(client, checks)
        except (UnavailableError, TimeoutError) as error:
            return self._without_an_answer(policies, error)
        verdict = Verdict(tuple(policies), tuple(decisions))
        for policy, decision in zip(policies, decisions, strict=True):
            counts = self._counts(policy)
            if verdict.allowed:
                counts.admitted += 1
            elif not decision.allowed:
                counts.refused += 1
        return verdict

    def _without_an_answer(self, policies: Sequence[Policy], error: Exception) -> Verdict:
        closed = [policy for policy in policies if policy.on_failure == "closed"]
        for policy in policies:
            if closed:
                self._counts(policy).failed_closed += 1
            else:
                self._counts(policy).failed_open += 1
        if closed:
            raise UnavailableError(
                f"the rate limit {closed[0].name} cannot be checked, and nothing passes unchecked",
                operation="limits.check",
            ) from error
        return Verdict(tuple(policies))

    def _counts(self, policy: Policy) -> PolicyCounts:
        return self.counts.setdefault(policy.name, PolicyCounts())
