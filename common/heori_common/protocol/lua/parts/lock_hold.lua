-- lock_hold.lua: how a request comes to hold a lock.
-- USES   now_us

-- Rises for ever, over all locks: by the clock, so that it also rises when Redis has lost the last
-- one, and by one at least, so that a clock that was set back does not matter.
local function next_fence()
  local last = tonumber(redis.call('SET', fence_key(), now_us, 'GET')) or 0
  if last < now_us then
    return now_us
  end
  redis.call('SET', fence_key(), last + 1)
  return last + 1
end

--   packed: its record
local function note_holder(lock, id, packed, lease_end_us)
  -- In this order: should a key hold something else, nobody has the lock without knowing it.
  redis.call('HSET', lock, id, packed)
  redis.call('ZADD', locks_key(), 'LT', lease_end_us, lock)
  redis.call('ZADD', holders_key(lock), lease_end_us, id)
end

local function add_holder(lock, id, record, fence, lease_end_us)
  record[SINCE_US], record[FENCE] = now_us, fence
  note_holder(lock, id, cmsgpack.pack(record), lease_end_us)
end
