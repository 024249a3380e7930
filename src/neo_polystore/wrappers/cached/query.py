"""`@cached_query`: the result of a read, kept for a while or until what it was read from changes.

    @cached_query(ttl=30, tags=("networks",))
    async def active_networks(work: UnitOfWork, *, testnet: bool) -> list[Network]: ...

The first argument says where to read: a unit of work, one of its repositories, a record port, or a
`QueryCache`. The result's type is the return annotation, so it can be checked when it comes back.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar, cast, get_type_hints

from pydantic import create_model
from pydantic_core import PydanticSerializationError, to_json

from neo_polystore.errors import UsageError
from neo_polystore.ports.cache import Cache, Place
from neo_polystore.records.base import Record
from neo_polystore.records.scope import NOBODY, Scope
from neo_polystore.wrappers.cached.counts import CacheCounts
from neo_polystore.wrappers.cached.rare_tag import SETTLED
from neo_polystore.wrappers.cached.read import ReadThrough
from neo_polystore.wrappers.cached.wanted import Wanted

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


class Result(Record):
    """What a cached query has answered, in the field `result`."""

    @property
    def key(self) -> str:
        """None of its own: its place in the cache says what it is."""
        return ""


class QueryCache:
    """Results of queries, for one tenant and service.

    `common` are the data types that no tenant owns; any other tag belongs to the tenant. `rare`
    are tags that writers end only if they are used (see `rare_tag`). `usable` says
    whether this transaction may use the cache now.
    """

    def __init__(
        self,
        cache: Cache,
        reading: ReadThrough,
        *,
        common: frozenset[str],
        rare: frozenset[str] = frozenset(),
    ):
        self._cache = cache
        self._reading = reading
        self._common = common
        self._rare = rare
        self._scope = NOBODY
        self._usable: Callable[[], bool] = lambda: True

    @property
    def query_cache(self) -> QueryCache:
        """Itself, so that it can be a query's first argument."""
        return self

    @property
    def counts(self) -> CacheCounts:
        """What the cache was good for."""
        return self._reading.guard.counts

    def within(self, scope: Scope, *, usable: Callable[[], bool] = lambda: True) -> Self:
        """The same cache, acting for a tenant and service."""
        bound = copy(self)
        bound._scope = scope
        bound._usable = usable
        return bound

    async def invalidate(self, *tags: str) -> None:
        """End every result of these groups, in all processes, before this returns."""
        await self._end([self._tag(name) for name in tags])

    async def forget(self, family: str, *parts: str) -> None:
        """End the result under one key of a family, such as `price:NEO`, in all processes."""
        await self._end([self._cache.in_family(family, *parts)])

    async def _end(self, places: Sequence[Place]) -> None:
        longest = max((place.ttl for place in places), default=0.0)
        await self._reading.guard.invalidate((place.key for place in places), ttl=longest)

    async def get(
        self,
        model: type[Result],
        name: str,
        arguments: Any,
        load: Callable[[], Awaitable[Any]],
        *,
        ttl: float | None,
        tags: Sequence[str],
        family: str | None = None,
    ) -> Any:
        """The result of `load`, or what it answered to the same arguments not long ago."""
        if not self._usable():
            return await load()
        place = self._place(name, arguments, family)

        async def loaded() -> Result | None:
            return model.model_construct(result=await load())

        wanted = Wanted(
            place=Place(place.key, place.ttl if ttl is None else ttl),
            owner=self._owner(name, family),
            model=model,
            load=loaded,
            cacheable=lambda result: True,
            tags=tuple(self._tag(tag).key for tag in tags),
            settled=0.0 if self._rare.isdisjoint(tags) else SETTLED,
        )
        found: Any = (await self._reading.get(wanted)).record
        return found.result

    def _place(self, name: str, arguments: Any, family: str | None) -> Place:
        if family is not None:
            parts = [str(value) for _, value in arguments]
            try:
                return self._cache.in_family(family, *parts)
            except ValueError as error:
                raise UsageError(f"{name}: {error}") from None
        try:
            identity = to_json([name, str(self._scope.tenant), self._scope.service, arguments])
        except PydanticSerializationError as error:
            raise UsageError(f"arguments of {name} make no key: {error}") from None
        return self._cache.in_family("query", hashlib.sha256(identity).hexdigest())

    def _owner(self, name: str, family: str | None) -> str:
        """For whom a result is. Keys of a family say nothing of who asks and by what function, so
        two that share one find each other's results foreign, and read without the cache."""
        tenant = str(self._scope.tenant or "-")
        if family is None:
            return tenant
        return f"{tenant} {(self._scope.service or '').encode().hex()} {name.encode().hex()}"

    def _tag(self, name: str) -> Place:
        tenant = None if name in self._common else self._scope.tenant
        return self._cache.in_family("tag", str(tenant or ""), name)


class HasQueryCache(Protocol):
    """Whatever a cached query may read from."""

    @property
    def query_cache(self) -> QueryCache:
        """The cache of its results."""


def cached_query(
    *,
    ttl: float | None = None,
    tags: Sequence[str] = (),
    name: str | None = None,
    family: str | None = None,
) -> Callable[
    [Callable[Concatenate[S, P], Awaitable[T]]], Callable[Concatenate[S, P], Awaitable[T]]
]:
    """Cache the results of an async function that reads.

    They live `ttl` seconds (without one as long as the key family `query` says), or until one of
    the `tags` is invalidated: a data type's name, which every write of its records through the
    facade invalidates, or a name of your own (`QueryCache.invalidate`). Tenant, service and all
    arguments but the first are part of the key. `name` is too; it is the function's own without
    one, so that a function that moves or changes its meaning needs another.

    `family` puts the results under the keys of a key family (see `store redis keys`) and its TTL:
    with `price`, what is asked for the argument `NEO` is at `price:NEO`. The arguments but the
    first are the key's parts. `QueryCache.forget` ends one of them.

    Without a cache behind the first argument, in a unit of work that has changed cached records,
    and in one above READ COMMITTED, the function is simply called.
    """

    def decorate(
        function: Callable[Concatenate[S, P], Awaitable[T]],
    ) -> Callable[Concatenate[S, P], Awaitable[T]]:
        known = name or f"{function.__module__}.{function.__qualname__}"
        signature = inspect.signature(function)
        models: list[type[Result]] = []

        @functools.wraps(function)
        async def wrapper(source: S, *args: P.args, **kwargs: P.kwargs) -> T:
            queries: QueryCache | None = getattr(source, "query_cache", None)
            if queries is None:
                return await function(source, *args, **kwargs)
            if not models:
                models.append(_model_of(function, known))
            bound = signature.bind(source, *args, **kwargs)
            bound.apply_defaults()
            arguments = list(bound.arguments.items())[1:]
            answer: T = await queries.get(
                models[0],
                known,
                arguments,
                lambda: function(source, *args, **kwargs),
                ttl=ttl,
                tags=tags,
                family=family,
            )
            return answer

        return cast("Callable[Concatenate[S, P], Awaitable[T]]", wrapper)

    return decorate


def _model_of(function: Callable[..., Any], name: str) -> type[Result]:
    """The model of a function's results; UsageError where it does not say what it returns."""
    annotation = get_type_hints(function).get("return", inspect.Signature.empty)
    if annotation in (inspect.Signature.empty, Any):
        raise UsageError(f"{name} is cached and must say what it returns")
    found: type[Result] = create_model("QueryResult", __base__=Result, result=(annotation, ...))
    return found
