-- lock_record.lua: what is kept of a lock.
-- Of all locks together: LAST_FENCE (string), IN_USE (zset lock → when it should be looked at: no
-- later than the first lease ends), WAITS (hash owner → packed {lock, request id} that it waits for;
-- and <waits>:<owner>, a string that expires: packed {owner it waits for, about}). Times are
-- microseconds.
-- A request is one attempt to get a lock; its id is never used again. A lock is
--   <lock>            hash: request id → packed record; and `limit`, if it was changed
--   <lock><holders>   zset: request id → end of its lease; it is the count of the permits in use
--   <lock><waiters>   zset: request id → ticket, lowest first
-- A lock that nobody holds or waits for has no keys, unless its limit was changed.

-- The fields of a record. LIMIT is false for a mutex; HANDED is the end of the short lease with
-- which a waiter was handed the lock, or false. JOB is there for a job that waits without anybody
-- who does so for it, and is put back on its queue: {id, its key, queue, deferred, parked}; it has no WAKE.
local OWNER, WAKE, LIMIT, LEASE, ABOUT, SINCE, FENCE, HANDED, JOB = 1, 2, 3, 4, 5, 6, 7, 8, 9

-- Lua writes 1.79e+15 where Redis' strings need every digit.
local function to_digits(number)
  return string.format('%.0f', number)
end

local function read_record(lock, id)
  local packed = redis.call('HGET', lock, id)
  return packed and cmsgpack.unpack(packed)
end

local function limit_of(lock, declared)
  if not declared then
    return 1
  end
  return tonumber(redis.call('HGET', lock, 'limit')) or declared
end
