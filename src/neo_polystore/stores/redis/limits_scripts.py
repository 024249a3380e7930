"""The Lua of the rate limits: many checks in one call, each judged as if it came alone.

Every check reads first, and writes only when all of its limits admit it; a check that fails (a key
that holds something else) fails alone. Times are microseconds. `CLOCK` is the only place where
time comes from; tests put another in front of `JUDGE`, the product never does.
"""

from __future__ import annotations

from neo_polystore.stores.redis.client import Script
from neo_polystore.stores.redis.limits_algorithms import ALGORITHMS

CLOCK = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
"""

JUDGE = (
    r"""
-- KEYS: one per limit. ARGV[1]: a flat array in JSON, for each check the number of its limits, then
-- for each of them algorithm, limit, window, capacity, cost; a negative number of limits looks and
-- takes nothing.
-- Answers a flat array: the time, then for each limit admitted (1 or 0), remaining, time until
-- more is available, time until this cost is admitted (-1: never). Where a check failed, the
-- first of its numbers is the error's text.
"""
    + ALGORITHMS
    + r"""
local asked = cjson.decode(ARGV[1])
local answer, filled = { now }, 1
local place, argument, count = 0, 1, #asked

local function settle(taking, kind, key, limit, window, capacity, cost, allowed, remaining, reset,
    retry, state)
  if taking then
    take[kind](key, limit, window, cost, capacity, state, now)
    remaining = remaining - cost
    if reset == 0 then
      reset = window -- the first unit of a window; of a bucket, a token's time
      if kind == 3 then reset = reset + reset / PARTS - now % (reset / PARTS) end
      if kind == 4 then reset = reset / limit end
    end
  end
  answer[filled + 1] = allowed and 1 or 0
  answer[filled + 2] = remaining
  answer[filled + 3] = math.ceil(reset)
  answer[filled + 4] = math.ceil(retry)
  filled = filled + 4
end

local function judge(limits)
  local taking, all, found = limits > 0, true, {}
  for number = 1, math.abs(limits) do
    local from = argument + (number - 1) * 5
    local kind, limit, window = asked[from], asked[from + 1], asked[from + 2]
    local capacity, cost, key = asked[from + 3], asked[from + 4], KEYS[place + number]
    local allowed, remaining, reset, retry, state =
      look[kind](key, limit, window, cost, capacity, now)
    if limits == 1 then -- most checks have one limit
      return settle(allowed, kind, key, limit, window, capacity, cost, allowed, remaining, reset,
        retry, state)
    end
    all = all and allowed
    found[number] = { kind, key, limit, window, capacity, cost, allowed, remaining, reset, retry,
      state }
  end
  for _, of in ipairs(found) do
    settle(all and taking, unpack(of, 1, 11))
  end
end

while argument <= count do
  local limits, before = asked[argument], filled
  argument = argument + 1
  local done, problem = pcall(judge, limits)
  limits = math.abs(limits)
  if not done then
    answer[before + 1] = type(problem) == 'table' and problem.err or tostring(problem)
    for number = before + 2, before + 4 * limits do
      answer[number] = 0
    end
    filled = before + 4 * limits
  end
  argument = argument + 5 * limits
  place = place + limits
end
return answer
"""
)

CHECK = Script(CLOCK + JUDGE)
"""Judges many checks; see its first lines."""

INCREMENT = Script("""
-- KEYS[1]; ARGV: increment, max_value, ttl in seconds.
-- Answers the new count, or -1 where it would pass max_value. The window opens once.
local count = tonumber(redis.call('GET', KEYS[1]) or '0')
if count + tonumber(ARGV[1]) > tonumber(ARGV[2]) then
  return -1
end
count = redis.call('INCRBY', KEYS[1], ARGV[1])
if redis.call('TTL', KEYS[1]) == -1 then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
return count
""")
"""The counter as the specification writes it down, with a window that opens once only."""
