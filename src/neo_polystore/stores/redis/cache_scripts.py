"""The cache's Lua. A key holds a value (string), a lease, or changes under way (both hashes).

A lease is the fields `token` and `taken`; a change is one field `w` with its id. Never both: a
change ends the lease, and no lease is given while there is a change. So whatever is removed or
set ends what stood there, and any client can read the values. Written for Redis 6.2.
"""

from __future__ import annotations

from neo_polystore.stores.redis.client import Script

LEASE = Script("""
-- KEYS[1]; ARGV: token, milliseconds. Answers {value} or {false, token of the lease}.
if redis.call('TYPE', KEYS[1]).ok == 'string' then
  return {redis.call('GET', KEYS[1])}
end
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'token') == 0 then
  return {false, ''}
end
-- The newest lease wins. But where loads take longer than the pause between misses, each would
-- end the one before and nothing would ever be filled: from the fifth on they share a lease,
-- which is just as safe, because any invalidation ends it.
if redis.call('HINCRBY', KEYS[1], 'taken', 1) > 4 then
  return {false, redis.call('HGET', KEYS[1], 'token')}
end
redis.call('HSET', KEYS[1], 'token', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {false, ARGV[1]}
""")

LOOK = Script("""
-- KEYS: per reader his key, then his tags. ARGV: token (8 characters of the server's run id come
-- first), milliseconds of a lease, of patience, of a tag; then per reader how many tags he has
-- (-1: his key is itself a tag, and he asks for its version only), the age in milliseconds from
-- which their versions count, and the beginning of a value that is of no use. With only the first
-- four, nobody has any. Answers per reader his value, or {value or false, lease, 1 to wait,
-- version of each tag}.
local values = redis.call('MGET', unpack(KEYS))
local answers, place, argument = {}, 1, 5
local plain = #ARGV == 4

local function version(tag, seen, settled)
  -- it begins with the server's run id: a restart may bring back one that had ended
  if seen and string.sub(seen, 1, 8) ~= string.sub(ARGV[1], 1, 8) then
    redis.call('UNLINK', tag)
    seen = false
  end
  if not seen then
    if redis.call('SET', tag, ARGV[1], 'NX', 'PX', ARGV[4]) then
      seen = ARGV[1]
    elseif redis.call('TYPE', tag).ok ~= 'string' then
      return ''
    else
      seen = redis.call('GET', tag)
    end
  end
  if settled > 0 and tonumber(ARGV[4]) - redis.call('PTTL', tag) < settled then return '' end
  return seen
end

local function lease(key, token)
  if redis.call('EXISTS', key) == 1 then
    if redis.call('HEXISTS', key, 'token') == 0 then return '', 0 end
    local age = tonumber(ARGV[2]) - redis.call('PTTL', key)
    if age >= 0 and age < tonumber(ARGV[3]) then return '', 1 end
  end
  redis.call('HSET', key, 'token', token)
  redis.call('PEXPIRE', key, ARGV[2])
  return token, 0
end

while place <= #KEYS do
  local key, value, tags, settled, useless = KEYS[place], values[place], 0, 0, ''
  if not plain then
    tags, settled = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
    useless = ARGV[argument + 2]
    argument = argument + 3
  end
  if value and useless ~= '' and string.sub(value, 1, #useless) == useless then
    redis.call('UNLINK', key)
    value = false
  end
  if tags < 0 then
    answers[#answers + 1] = {false, '', 0, version(key, value, settled)}
    tags = 0
  elseif value and tags == 0 then
    answers[#answers + 1] = value
  else
    local answer, changing = {value, '', 0}, false
    for number = place + 1, place + tags do
      local found = version(KEYS[number], values[number], settled)
      changing = changing or found == ''
      answer[#answer + 1] = found
    end
    if not value and not changing then
      answer[2], answer[3] = lease(key, ARGV[1] .. place)
    end
    answers[#answers + 1] = answer
  end
  place = place + 1 + tags
end
return answers
""")

FILL = Script("""
-- KEYS; ARGV: per key token of the lease, beginning of the value to replace, value, milliseconds.
-- One of the first two is empty. Answers per key 1 where what it names was still there.
local answers = {}
for place, key in ipairs(KEYS) do
  local at = place * 4 - 3
  local stands = redis.call('TYPE', key).ok
  local good = false
  if ARGV[at] ~= '' then
    good = stands == 'hash' and redis.call('HGET', key, 'token') == ARGV[at]
  elseif ARGV[at + 1] ~= '' and stands == 'string' then
    good = redis.call('GETRANGE', key, 0, #ARGV[at + 1] - 1) == ARGV[at + 1]
  end
  if good then redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[at + 3]) end
  answers[place] = good and 1 or 0
end
return answers
""")

CHANGE = Script("""
-- KEYS; ARGV: per key the change's id, and the milliseconds after which it ends by itself, or 0
-- where it ends now (the id may then be empty). A hash without fields is gone. Answers per key 1
-- where it held anything.
local held = {}
for place, key in ipairs(KEYS) do
  local change, milliseconds = 'w' .. ARGV[place * 2 - 1], ARGV[place * 2]
  local stands = redis.call('TYPE', key).ok
  held[place] = stands == 'none' and 0 or 1
  if stands == 'string' then
    redis.call('UNLINK', key)
  elseif stands == 'hash' then
    redis.call('HDEL', key, 'token', 'taken', milliseconds == '0' and change or 'token')
  end
  if milliseconds ~= '0' then
    redis.call('HSET', key, change, 1)
    redis.call('PEXPIRE', key, milliseconds)
  end
end
return held
""")
