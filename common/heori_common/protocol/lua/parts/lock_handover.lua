-- lock_handover.lua: how a lock passes from one holder to the next.
-- After each of them, where there is a permit to be had, nobody waits who could be told so.
-- USES   now_us, tenants, lock_record

-- Rises for ever, over all locks: by the clock, so that it also rises when Redis has lost the last
-- one, and by one at least, so that a clock that was set back does not matter.
local last_fence
local function next_fence()
  last_fence = math.max((last_fence or tonumber(redis.call('GET', LAST_FENCE)) or 0) + 1, now_us)
  redis.call('SET', LAST_FENCE, to_digits(last_fence))
  return last_fence
end

local function add_holder(lock, id, record, fence, lease_end)
  record[SINCE], record[FENCE] = now_us, fence
  -- In this order: should a key hold something else, nobody has the lock without knowing it.
  redis.call('HSET', lock, id, cmsgpack.pack(record))
  redis.call('ZADD', IN_USE, 'LT', to_digits(lease_end), lock)
  redis.call('ZADD', lock .. args.holders, to_digits(lease_end), id)
end

local function remove_holder(lock, id)
  redis.call('HDEL', lock, id)
  return redis.call('ZREM', lock .. args.holders, id) == 1
end

-- Without a record, somebody has deleted the hash.
local function remove_waiter(lock, id, record)
  local waits = record and redis.call('HGET', WAITS, record[OWNER])
  if waits and cmsgpack.unpack(waits)[2] == id then
    redis.call('HDEL', WAITS, record[OWNER])
  end
  return redis.call('ZREM', lock .. args.waiters, id) == 1
end

-- Puts a job that waited back to the front of its queue; false when it waits no more: it was
-- cancelled or deleted, say. Where its queue holds something else it stays parked: the reaper
-- tries again.
local function requeue_parked(job)
  local id, key, queue, deferred, parked = unpack(job)
  -- pcall: any of these keys may hold something else
  if redis.pcall('HGET', key, 'status') ~= 'deferred' then
    redis.pcall('ZREM', parked, id)
    return false
  end
  if type(redis.pcall('LPUSH', queue, id)) == 'table' then
    return false
  end
  join_turns(queue)
  redis.call('HSET', key, 'status', 'queued')
  redis.pcall('ZREM', deferred, id)
  redis.pcall('ZREM', parked, id)
  return true
end

-- Hands the lock to whoever is next while there are permits. A waiter that cannot be told is
-- dead, or has lost its connection and will come back with its ticket: it is passed over.
local function grant_to_waiters(lock)
  while true do
    local id = redis.call('ZRANGE', lock .. args.waiters, 0, 0)[1]
    if not id then
      break
    end
    local record = read_record(lock, id)
    if record and redis.call('ZCARD', lock .. args.holders) >= limit_of(lock, record[LIMIT]) then
      break
    end
    remove_waiter(lock, id, record)
    if record then
      local fence = next_fence()
      local lease_end = now_us + math.min(record[LEASE], args.grant)
      record[HANDED] = lease_end
      local told
      if record[JOB] then
        told = requeue_parked(record[JOB])
      else
        told = redis.call('PUBLISH', record[WAKE], cmsgpack.pack({ id, fence, lease_end })) > 0
      end
      if told then
        add_holder(lock, id, record, fence, lease_end)
      else
        redis.call('HDEL', lock, id)
      end
    end
  end
  if redis.call('EXISTS', lock .. args.holders) == 0 then
    redis.call('ZREM', IN_USE, lock)
  end
end

-- Takes the lock from holders whose lease is over. One that was handed it and never renewed
-- has not moved since: its process is stopped or unreachable, and so its other waiters are. A job
-- has not been claimed meanwhile, and is on its queue.
local function expire_holders(lock)
  local overdue = redis.call('ZRANGEBYSCORE', lock .. args.holders, '-inf', to_digits(now_us), 'WITHSCORES')
  if #overdue == 0 then
    return
  end
  local silent, any = {}, false
  for n = 1, #overdue, 2 do
    local id, lease_end = overdue[n], tonumber(overdue[n + 1])
    local record = read_record(lock, id)
    if record and record[HANDED] == lease_end and not record[JOB] then
      silent[record[WAKE]], any = true, true
    end
    remove_holder(lock, id)
  end
  if any then
    for _, id in ipairs(redis.call('ZRANGE', lock .. args.waiters, 0, -1)) do
      local record = read_record(lock, id)
      if record and silent[record[WAKE]] then
        remove_waiter(lock, id, record)
        redis.call('HDEL', lock, id)
      end
    end
  end
  grant_to_waiters(lock)
end

-- Looks at locks whose holder's lease is over and that nobody has asked for since; returns how many.
local function sweep_overdue(most)
  local overdue = redis.call('ZRANGEBYSCORE', IN_USE, '-inf', to_digits(now_us), 'LIMIT', 0, most)
  for _, lock in ipairs(overdue) do
    -- pcall: a key that holds something else has taken the lock with it
    pcall(expire_holders, lock)
    local first = redis.pcall('ZRANGE', lock .. args.holders, 0, 0, 'WITHSCORES')
    if first[2] then
      redis.call('ZADD', IN_USE, first[2], lock)
    else
      redis.call('ZREM', IN_USE, lock)
    end
  end
  return #overdue
end
