-- lock_record.lua: what is kept of a lock.
-- A request is one attempt to get a lock; its id is never used again. For each request there is a
-- record, an array whose fields LockRecord names: OWNER, WAKE and so on. Its client packs all before
-- SINCE_US; a script puts that, FENCE and HANDED_US behind it, which takes less time than to make and
-- to pack an array. A lock is
--   <lock>               hash: request id → packed record; and `limit`, if it was changed
--   holders_key(lock)    zset: request id → end of its lease; it is the count of the permits in use
--   waiters_key(lock)    zset: request id → ticket, lowest first
-- A lock that nobody holds or waits for has no keys, unless its limit was changed. Of all locks:
--   fence_key()          string: the last fence that was given
--   locks_key()          zset: lock → when to look at it, no later than the first lease ends
--   lock_waits_key()     hash: owner → packed {lock, request id} that it waits for
--   owner_wait_key(owner)   string, expires: packed {owner that it waits for, about}
-- All times are microseconds.

-- The owner that a job is to its locks, and the request by which it has them. It is one for all
-- deliveries of the job: an execution that has lost its lease is refused before it comes here.
local function request_of_job(id)
  return 'job:' .. id
end

local function is_request_of_job(request)
  return string.sub(request, 1, 4) == 'job:'
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
