"""What a cached port has done since the start, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class CacheCounts:
    """What happened since the start.

    `hits` came from the cache, `local` from this process's memory, `shared` from a load that
    another caller had begun, `misses` were loaded. `bypassed` reads did not use the cache.
    Of the loads, `filled` were stored; `refused` were not, because the record changed meanwhile:
    each is a stale value prevented; `uncacheable` ones must not be. `corrupt` and `outdated`
    entries were thrown away, `renewed` ones loaded ahead of their end. `waited` reads waited for
    another process's load. `failures` are calls that failed or took too long; `uncertain` keys
    wait for their invalidation; `deferred` keys went into the outbox.
    """

    hits: int = 0
    misses: int = 0
    shared: int = 0
    bypassed: int = 0
    filled: int = 0
    refused: int = 0
    failures: int = 0
    uncertain: int = 0
    local: int = 0
    waited: int = 0
    renewed: int = 0
    corrupt: int = 0
    outdated: int = 0
    uncacheable: int = 0
    deferred: int = 0
