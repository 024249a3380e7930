"""The decorator `query`, for whoever writes reads of his own over the facade."""

from __future__ import annotations

from neo_polystore.wrappers.cached.query import QueryCache, cached_query

__all__ = ["QueryCache", "cached_query"]
