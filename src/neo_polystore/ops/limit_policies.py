"""Named rate-limit policies and the routes they hold for, read from a TOML file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt
from pydantic import ValidationError as PydanticError

from neo_polystore.errors import ConfigError, UsageError
from neo_polystore.ports.limits import LARGEST, MOST, Algorithm, Limit, whole
from neo_polystore.records.base import problems_of

OnFailure = Literal["open", "closed"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_PLACE = re.compile(r"\{\w+(?::path)?\}")
_ROUTE = re.compile(r"(?:(?P<method>[A-Z]+) )?(?P<path>/\S*?)(?P<prefix>\*)?")


@dataclass(frozen=True, slots=True)
class Policy:
    """A limit under a name that clients see.

    A request takes `cost` units. `on_failure` says what happens while the store of the limits
    cannot be asked within `time_budget` seconds: `open` admits, `closed` refuses. Counted once
    per client, or per client and route where `per_route`.
    """

    name: str
    limit: Limit
    cost: int = 1
    on_failure: OnFailure = "open"
    time_budget: float = 0.25
    per_route: bool = False

    def endpoint(self, route: str) -> str:
        """What the limit is counted under, beside the client."""
        return f"{self.name}:{route}" if self.per_route else self.name


@dataclass(frozen=True, slots=True)
class Assignment:
    """The policies of a route template, or of all paths that begin so.

    In a template `{name}` stands for one segment of a path, `{name:path}` for any number.
    """

    method: str | None
    path: str
    prefix: bool
    policies: tuple[Policy, ...]
    pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        literals = [re.escape(part) for part in _PLACE.split(self.path)]
        places = [".*" if ":" in place else "[^/]+" for place in _PLACE.findall(self.path)]
        text = "".join(a + b for a, b in zip_longest(literals, places, fillvalue=""))
        object.__setattr__(self, "pattern", re.compile(text + ".*" * self.prefix, re.DOTALL))

    @property
    def route(self) -> str:
        """What it holds for, as it stands in the file."""
        text = self.path + "*" * self.prefix
        return f"{self.method} {text}" if self.method else text

    @property
    def order(self) -> tuple[bool, int, int, bool]:
        """Sorts the most specific first."""
        places = len(_PLACE.findall(self.path))
        return self.prefix, places if not self.prefix else 0, -len(self.path), self.method is None

    def holds(self, method: str, path: str) -> bool:
        """Whether it speaks of this request."""
        return self.method in (None, method) and self.pattern.fullmatch(path) is not None


@dataclass(frozen=True, slots=True)
class Policies:
    """Every policy by name, and what holds for which route, the most specific first."""

    named: Mapping[str, Policy]
    assignments: tuple[Assignment, ...] = ()

    def __getitem__(self, name: str) -> Policy:
        """The policy; UsageError naming those there are."""
        try:
            return self.named[name]
        except KeyError:
            known = ", ".join(self.named) or "none"
            raise UsageError(f"no rate-limit policy {name!r}; there are {known}") from None

    def of_request(self, method: str, path: str) -> Assignment | None:
        """The most specific assignment that speaks of a request.

        A template is more specific than a prefix, one with fewer places than one with more, a
        longer text than a shorter one, and one with a method than the same without.
        """
        for assignment in self.assignments:
            if assignment.holds(method, path):
                return assignment
        return None

    def check_templates(self, templates: Iterable[str]) -> None:
        """Raise ConfigError for an assignment that no route of the application can meet."""
        known = {_plain(template) for template in templates}
        for assignment in self.assignments:
            if not assignment.prefix and _plain(assignment.path) not in known:
                raise ConfigError(
                    f"rate limits: no route {assignment.path}; there are"
                    f" {', '.join(sorted(known))} (a prefix ends in *)"
                )


def _plain(template: str) -> str:
    return _PLACE.sub(lambda place: place[0].partition(":")[0].rstrip("}") + "}", template)


class _Policy(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: StrictInt
    window_seconds: StrictInt = 60
    algorithm: Algorithm = "fixed_window"
    burst: StrictInt | None = None
    cost: StrictInt = 1
    on_failure: OnFailure = "open"
    time_budget: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 0.25
    per_route: bool = False


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    policies: dict[str, _Policy]
    routes: dict[str, list[str]] = {}


def load_policies(path: Path) -> Policies:
    """Read and check the file; raises ConfigError naming the policy or route that is wrong."""
    try:
        content = _File.model_validate(tomllib.loads(path.read_text()))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise ConfigError(f"rate limits {path}: {reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"rate limits {path}: {error}") from None
    except PydanticError as error:
        text = "; ".join(f"{p.field}: {p.reason}" for p in problems_of(error))
        raise ConfigError(f"rate limits {path}: {text}") from None
    try:
        named = {name: _policy(name, row) for name, row in content.policies.items()}
        found = [_assignment(text, names, named) for text, names in content.routes.items()]
    except UsageError as error:
        raise ConfigError(f"rate limits {path}: {error.message}") from None
    found.sort(key=lambda assignment: assignment.order)
    return Policies(named, tuple(found))


def _policy(name: str, row: _Policy) -> Policy:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"policies.{name}: a name has up to 64 small letters, digits, - and _, a letter first"
        )
    try:
        limit = Limit(row.limit, row.window_seconds, row.algorithm, row.burst)
        whole("cost", row.cost, LARGEST)
    except UsageError as error:
        raise UsageError(f"policies.{name}: {error.message}") from None
    if row.cost > limit.capacity:
        raise UsageError(
            f"policies.{name}: a cost of {row.cost} is above the {limit.capacity} that are ever"
            " admitted at once, so that every request would be refused"
        )
    return Policy(name, limit, row.cost, row.on_failure, row.time_budget, row.per_route)


def _assignment(text: str, names: list[str], named: Mapping[str, Policy]) -> Assignment:
    found = _ROUTE.fullmatch(text)
    if found is None:
        raise UsageError(
            f"routes.{text!r}: expected a route template such as '/api/store/{{data_type}}' or a"
            " prefix such as '/api/*', with or without a method before it ('POST /api/*')"
        )
    if unknown := sorted(set(names) - set(named)):
        raise UsageError(
            f"routes.{text!r}: no policy {', '.join(unknown)}; there are"
            f" {', '.join(named) or 'none'}"
        )
    if len(set(names)) < len(names) or len(names) > MOST:
        raise UsageError(f"routes.{text!r}: name up to {MOST} policies, each once")
    policies = tuple(named[name] for name in names)
    return Assignment(found["method"], found["path"], bool(found["prefix"]), policies)
