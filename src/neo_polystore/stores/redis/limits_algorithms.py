"""The Lua of the four algorithms: `look` says what a limit would answer, `take` counts.

Times are microseconds. `look[algorithm]` answers whether the cost is admitted, what remains, the
time until more is available, the time until this cost is admitted, and what `take` needs to know.
It writes only what changes no answer: it drops what has left the window.
"""

ALGORITHMS = r"""
local NEVER = -1
local SLACK = 1000         -- milliseconds: no key may expire before the last unit has left
local TURN = 4503599627370496 -- 2^52: running totals wrap here, where doubles are still exact
local look, take = {}, {}

local call, format, match = redis.call, string.format, string.match
local ceil, floor, max, min = math.ceil, math.floor, math.max, math.min

-- The server writes a number that it is given with 17 digits, so a whole one as it is.
local function keep(key, text, microseconds)
  call('SET', key, text, 'PX', min(ceil(microseconds / 1000) + SLACK, TURN))
end

-- Fixed window: a counter that expires when the window ends.
-- A counter without an expiry, or with a longer one than a window, would lock its client out.
look[1] = function(key, limit, window, cost)
  local value = call('GET', key)
  if not value then
    return cost <= limit, limit, window, cost <= limit and 0 or NEVER
  end
  local used = tonumber(value)
  if not used or used ~= floor(used) then
    error('the key holds no whole number', 0)
  end
  local left = call('PTTL', key) * 1000
  if left < 0 or left > window then
    call('PEXPIRE', key, window / 1000)
    left = window
  end
  local allowed = used + cost <= limit
  return allowed, max(0, limit - used), left,
    allowed and 0 or (cost <= limit and left or NEVER), true
end
take[1] = function(key, limit, window, cost, capacity, open)
  if open then
    call('INCRBY', key, cost)
  else
    call('SET', key, cost, 'PX', window / 1000)
  end
end

-- Sliding window, exact: a list of `time total`, total being the units admitted up to then.
-- The first entry stands for all that has left the window; the rest are in it.
local function entry(text)
  local at, total = match(text, '^(%d+) (%d+)$')
  if not at then
    error('the key holds no log', 0)
  end
  return tonumber(at), tonumber(total)
end
local function written(at, total)
  return format('%.0f %.0f', at, total)
end
local function at_place(key, place)
  return entry(call('LINDEX', key, place))
end
-- The first place from `low` on whose entry satisfies `test`, or `high` where none before does.
local function first_place(key, low, high, test)
  while low < high do
    local middle = floor((low + high) / 2)
    if test(at_place(key, middle)) then high = middle else low = middle + 1 end
  end
  return low
end
look[2] = function(key, limit, window, cost, capacity, now)
  local head = call('LRANGE', key, 0, 1)
  if not head[2] then
    return cost <= limit, limit, 0, cost <= limit and 0 or NEVER
  end
  local last_at, last = at_place(key, -1)
  if last_at > now then -- the clock stepped back: what lies ahead counts as of now
    local length = call('LLEN', key)
    local place = first_place(key, 1, length, function(at) return at > now end)
    call('LTRIM', key, 0, place - 1)
    call('RPUSH', key, written(now, last))
    head, last_at = call('LRANGE', key, 0, 1), now
  end
  local _, base = entry(head[1])
  local oldest = entry(head[2])
  local since = now - window
  if oldest <= since then
    if last_at <= since then
      call('DEL', key)
      return cost <= limit, limit, 0, cost <= limit and 0 or NEVER
    end
    local length = call('LLEN', key)
    local place = first_place(key, 2, length, function(at) return at > since end)
    call('LTRIM', key, place - 1, -1)
    head = call('LRANGE', key, 0, 1)
    _, base = entry(head[1])
    oldest = entry(head[2])
  end
  local used = (last - base) % TURN
  local allowed, retry = used + cost <= limit, 0
  if cost > limit then
    retry = NEVER
  elseif not allowed then
    local length, must_go = call('LLEN', key), used + cost - limit
    local place = first_place(key, 1, length - 1, function(_, total)
      return (total - base) % TURN >= must_go
    end)
    retry = at_place(key, place) + window - now
  end
  return allowed, max(0, limit - used), oldest + window - now, retry,
    { last_at, last }
end
take[2] = function(key, limit, window, cost, capacity, state, now)
  if not state then
    call('RPUSH', key, '0 0', written(now, cost))
  else
    local text = written(now, (state[2] + cost) % TURN)
    if state[1] == now then
      call('LSET', key, -1, text)
    else
      call('RPUSH', key, text)
    end
  end
  call('PEXPIRE', key, ceil(window / 1000) + SLACK)
end

-- Sliding window, counted: `time:units` for each twentieth of a window that has any, by the time
-- at which it began. A part is held until the last unit that may be in it has left the window.
local PARTS = 20
local function store_counts(key, window, counts)
  local texts = {}
  for place, count in ipairs(counts) do
    texts[place] = format('%.0f:%.0f', count[1], count[2])
  end
  keep(key, table.concat(texts, ' '), window + window / PARTS)
end
look[3] = function(key, limit, window, cost, capacity, now)
  local length = window / PARTS
  local part = now - now % length
  local used, counts, ahead = 0, {}, false
  local text = call('GET', key)
  if text then
    if not string.find(text, '^%d+:%d+[%d: ]*$') then
      error('the key holds no counts', 0)
    end
    for began, units in string.gmatch(text, '(%d+):(%d+)') do
      began, units = tonumber(began), tonumber(units)
      if began > part then -- the clock stepped back: what lies ahead counts as of now
        began, ahead = part, true
      end
      if began >= part - window then
        used = used + units
        local last = counts[#counts]
        if last and last[1] == began then
          last[2] = last[2] + units
        else
          counts[#counts + 1] = { began, units }
        end
      end
    end
    if ahead then store_counts(key, window, counts) end
  end
  local function leaves(began)
    return began + window + length - now
  end
  local allowed, retry = used + cost <= limit, 0
  if cost > limit then
    retry = NEVER
  elseif not allowed then
    local gone, place = 0, 0
    while gone < used + cost - limit do
      place = place + 1
      gone = gone + counts[place][2]
    end
    retry = leaves(counts[place][1])
  end
  local reset = counts[1] and leaves(counts[1][1]) or 0
  return allowed, max(0, limit - used), reset, retry, counts
end
take[3] = function(key, limit, window, cost, capacity, counts, now)
  local part = now - now % (window / PARTS)
  local last = counts[#counts]
  if last and last[1] == part then
    last[2] = last[2] + cost
  else
    counts[#counts + 1] = { part, cost }
  end
  store_counts(key, window, counts)
end

-- Token bucket: `tokens time`; tokens flow in since then. An idle bucket is full, and forgotten.
local function store_bucket(key, limit, window, capacity, tokens, now)
  keep(key, format('%.17g %.0f', tokens, now), (capacity - tokens) * window / limit)
end
look[4] = function(key, limit, window, cost, capacity, now)
  local rate = limit / window
  local tokens = capacity
  local text = call('GET', key)
  if text then
    local had, at = match(text, '^(%S+) (%d+)$')
    if not had then
      error('the key holds no bucket', 0)
    end
    had, at = tonumber(had), tonumber(at)
    tokens = min(capacity, had + max(0, now - at) * rate)
    if at > now then -- the clock stepped back: tokens flow in from now on
      store_bucket(key, limit, window, capacity, tokens, now)
    end
  end
  local allowed, retry = tokens >= cost, 0
  if cost > capacity then
    retry = NEVER
  elseif not allowed then
    retry = (cost - tokens) / rate + 1 -- microsecond, for what rounding takes
  end
  local reset = tokens < capacity and (floor(tokens) + 1 - tokens) / rate or 0
  return allowed, floor(tokens), reset, retry, tokens
end
take[4] = function(key, limit, window, cost, capacity, tokens, now)
  store_bucket(key, limit, window, capacity, tokens - cost, now)
end
"""
