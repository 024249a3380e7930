"""Caching over the ports. Where to look for what:

- a data type: `data_types` (the table of all), `records` (what they have in common), `accounts`,
  `sessions`, `metrics` with `metric_versions`
- units of work: `work`, `repository`; cached queries: `query`
- reading: `read` (hit, or one load at a time), `wanted` (what is asked for), `load` (misses, fills,
  early renewals), `near` (copies in this process)
- writing: `changes` (announced, invalidated), `rare_tag` (records that are written once)
- the cache itself: `guard` (bounded in time, never read where it may be stale), `entry` and `codec`
  (the bytes), `counts`
"""
