"""Redis: the cache and the rate limits."""
