-- lock_count.lua: how many hold locks and wait for them. Only one consumer is told, who holds the
-- lease or takes it: were it told by all, sums over all consumers would count it often.
-- KEYS   fence (string), locks (zset), waits (hash), counter (string), forced (string)
-- ARGS   consumer, lease, most, holders, waiters
--        lease: milliseconds
--        most: how many locks are looked at in one call
-- REPLY  nil when another consumer is told, else msgpack [[[lock, how many hold it, limit, how many
--        wait], …], how many locks were released by force since ever]
--        limit: 0 where nobody says
-- USES   lock_keys, lock_record

-- pcall, here and below: the key may hold something else
local elected = redis.pcall('GET', KEYS[4])
if elected and elected ~= args.consumer then
  return nil
end
redis.call('SET', KEYS[4], args.consumer, 'PX', args.lease)

local function count(lock)
  local holds = redis.call('ZRANGE', lock .. args.holders, 0, 0)[1]
  local record = holds and read_record(lock, holds)
  return { lock, redis.call('ZCARD', lock .. args.holders), record and limit_of(lock, record[LIMIT]) or 0,
    redis.call('ZCARD', lock .. args.waiters) }
end

local counted = {}
local locks = redis.pcall('ZRANGE', IN_USE, 0, args.most - 1)
for _, lock in ipairs(locks.err and {} or locks) do
  local ok, counts = pcall(count, lock)
  if ok then
    counted[#counted + 1] = counts
  end
end
local forced = redis.pcall('GET', KEYS[5])
return cmsgpack.pack({ counted, tonumber(type(forced) == 'string' and forced) or 0 })
