"""Finds the rule that a request falls under."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from neo_polystore.auth.permissions import Rule

_PLACE = re.compile(r"\{\w+(?::path)?\}")


@dataclass(frozen=True, slots=True)
class Found:
    """The rule of a request and what it asks for; `rule` is None where only other methods have
    one, which are `allowed`."""

    rule: Rule | None
    permission: str
    allowed: frozenset[str]


class Rulebook:
    """Rules by method and path: a route's before a prefix's, a longer path's before a shorter's.

    Only what a rule speaks of is served. Paths are compared as they were decoded once, like the
    router does it; a path that only the router would match is refused, never let through.
    """

    def __init__(self, rules: Iterable[Rule]):
        self._buckets: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
        for rule in sorted(rules, key=_order):
            self._buckets.setdefault(_bucket(rule.path), []).append((rule, _pattern(rule)))

    def find(self, method: str, path: str) -> Found | None:
        """The rule for a request; None where no rule speaks of the path."""
        others: set[str] = set()
        for rule, pattern in self._buckets.get(_bucket(path), ()):
            if (match := pattern.fullmatch(path)) is None:
                continue
            if method in rule.methods:
                permission = rule.permission
                if rule.of:
                    permission = rule.of.get(match.group(1), permission)
                return Found(rule, permission, rule.methods)
            others |= rule.methods
        return Found(None, "", frozenset(others)) if others else None


def _bucket(path: str) -> str:
    """The first two segments, which are literal in every rule that has them."""
    parts = path.split("/", 3)
    return "/".join(parts[1:3]) if parts[1:2] == ["api"] else parts[1] if parts[1:] else ""


def _order(rule: Rule) -> tuple[bool, int, int]:
    return rule.is_prefix, len(_PLACE.findall(rule.path)), -len(rule.path)


def _pattern(rule: Rule) -> re.Pattern[str]:
    path = rule.path.removesuffix("/*")
    literals = [re.escape(part) for part in _PLACE.split(path)]
    places = ["(.*)" if ":" in place else "([^/]+)" for place in _PLACE.findall(path)]
    text = "".join(a + b for a, b in zip_longest(literals, places, fillvalue=""))
    return re.compile(text + "(?:/.*)?" * rule.is_prefix, re.DOTALL)
