-- lock_state.lua: what is kept of a lock.
-- Included by other scripts (see their USES line); it is never called by itself.
-- All of them have KEYS[1] fence (string, the last one), KEYS[2] locks (zset lock → when it should
-- be looked at: no later than the first lease ends) and KEYS[3] waits (hash owner → packed {lock, request id} that it waits for, or
-- {false, owner} that it waits for). Times are microseconds.
-- A request is one attempt to get a lock; its id is never used again. A lock is
--   <lock>            hash: request id → packed record; and `limit`, if it was changed
--   <lock><holders>   zset: request id → end of its lease; it is the count of the permits in use
--   <lock><waiters>   zset: request id → ticket, lowest first
-- A lock that nobody holds or waits for has no keys, unless its limit was changed.
-- USES   lock_clock

-- The fields of a record. LIMIT is false for a mutex; HANDED is the end of the short lease with
-- which a waiter was handed the lock, or false.
local OWNER, WAKE, LIMIT, LEASE, ABOUT, SINCE, FENCE, HANDED = 1, 2, 3, 4, 5, 6, 7, 8

-- Lua writes 1.79e+15 where Redis' strings need every digit.
local function whole_number(number)
  return string.format('%.0f', number)
end

local function read(lock, id)
  local packed = redis.call('HGET', lock, id)
  return packed and cmsgpack.unpack(packed)
end

local function limit_of(lock, declared)
  if not declared then
    return 1
  end
  return tonumber(redis.call('HGET', lock, 'limit')) or declared
end
