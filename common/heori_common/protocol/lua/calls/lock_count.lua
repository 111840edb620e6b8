-- lock_count.lua: how many hold locks and wait for them. Only one service is told, see
-- told_by.lua: sums over all consumers would count a lock several times if all told of it.
-- KEYS   counter (string), forced (string)
-- ARGS   most
--        most: how many locks are looked at in one call
-- REPLY  nil when another service is told, else msgpack [[[lock, how many hold it, limit, how many
--        wait], …], how many locks were released by force since ever]
--        limit: 0 where nobody says
-- FULL   passes
-- USES   lock_record, told_by

local counter, forced = unpack(KEYS)
if not is_to_tell(counter) then
  return nil
end

local function count(lock)
  local first = redis.call('ZRANGE', holders_key(lock), 0, 0)[1]
  local record = first and read_record(lock, first)
  return { lock, redis.call('ZCARD', holders_key(lock)), record and limit_of(lock, record[LIMIT]) or 0,
    redis.call('ZCARD', waiters_key(lock)) }
end

local counted = {}
-- pcall, here and below: the key may hold something else
local locks = redis.pcall('ZRANGE', locks_key(), 0, args.most - 1)
for _, lock in ipairs(locks.err and {} or locks) do
  local ok, counts = pcall(count, lock)
  if ok then
    counted[#counted + 1] = counts
  end
end
local number = redis.pcall('GET', forced)
return cmsgpack.pack({ counted, tonumber(type(number) == 'string' and number) or 0 })
