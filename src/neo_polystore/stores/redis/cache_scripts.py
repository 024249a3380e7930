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
-- KEYS: per reader his key, then his tags. ARGV: token, milliseconds of a lease, of patience, of
-- a tag; then per reader how many tags he has and the beginning of a value that is of no use.
-- With only the first four, nobody has any. Answers per reader his value, or
-- {value or false, lease, 1 to wait, version of each tag}.
local values = redis.call('MGET', unpack(KEYS))
local answers, place, argument = {}, 1, 5
local plain = #ARGV == 4

local function version(tag, seen)
  if seen then return seen end
  if redis.call('SET', tag, ARGV[1], 'NX', 'PX', ARGV[4]) then return ARGV[1] end
  if redis.call('TYPE', tag).ok ~= 'string' then return '' end
  return redis.call('GET', tag)
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
  local key, value, tags, useless = KEYS[place], values[place], 0, ''
  if not plain then
    tags, useless = tonumber(ARGV[argument]), ARGV[argument + 1]
    argument = argument + 2
  end
  if value and useless ~= '' and string.sub(value, 1, #useless) == useless then
    redis.call('UNLINK', key)
    value = false
  end
  if value and tags == 0 then
    answers[#answers + 1] = value
  else
    local answer, changing = {value, '', 0}, false
    for number = place + 1, place + tags do
      local found = version(KEYS[number], values[number])
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

BEGIN_CHANGE = Script("""
-- KEYS; ARGV: milliseconds after which a change ends by itself, then per key the change's id.
for place, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'string' then
    redis.call('UNLINK', key)
  else
    redis.call('HDEL', key, 'token', 'taken')
  end
  redis.call('HSET', key, 'w' .. ARGV[place + 1], 1)
  redis.call('PEXPIRE', key, ARGV[1])
end
""")

INVALIDATE = Script("""
-- KEYS; ARGV: per key the id of the change that ends, or ''. A hash without fields is gone.
for place, key in ipairs(KEYS) do
  if redis.call('TYPE', key).ok == 'hash' then
    redis.call('HDEL', key, 'token', 'taken', 'w' .. ARGV[place])
  else
    redis.call('UNLINK', key)
  end
end
""")
