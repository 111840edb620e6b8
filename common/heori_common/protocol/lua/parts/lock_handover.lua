-- lock_handover.lua: how a lock passes from one holder to the next.
-- After each of these functions no waiter that can be told is left waiting for a free permit.
-- ARGS   handover_lease_us
-- USES   now_us, arrivals, lock_record, lock_hold

local function remove_holder(lock, id)
  redis.call('HDEL', lock, id)
  return redis.call('ZREM', holders_key(lock), id) == 1
end

local function forget_wait(id, record)
  local waits = redis.call('HGET', lock_waits_key(), record[OWNER])
  if waits and cmsgpack.unpack(waits)[2] == id then
    redis.call('HDEL', lock_waits_key(), record[OWNER])
  end
end

-- Without a record, somebody has deleted the hash.
local function remove_waiter(lock, id, record)
  if record then
    forget_wait(id, record)
  end
  return redis.call('ZREM', waiters_key(lock), id) == 1
end

-- Puts a job that waited back to the front of its queue; false when it waits no more: it was
-- cancelled or deleted, say. Where its queue holds something else it stays parked: the reaper
-- tries again.
local function requeue_parked(id, key, queue, deferred, parked)
  -- pcall: any of these keys may hold something else
  if redis.pcall('HGET', key, 'status') ~= 'deferred' then
    redis.pcall('ZREM', parked, id)
    return false
  end
  if type(redis.pcall('LPUSH', queue, id)) == 'table' then
    return false
  end
  jobs_arrived(queue, 1)
  redis.call('HSET', key, 'status', 'queued')
  redis.pcall('ZREM', deferred, id)
  redis.pcall('ZREM', parked, id)
  return true
end

-- Whether a waiter hears of a grant. It is told only if it is heard here: replicas publish it, too, and
-- after a failover a waiter may still listen to one, which the server that decides would pass over.
local function tell_grant(wake, grant)
  -- pcall: this user may have no right to it; then the waiter finds its grant when it looks
  local heard = redis.pcall('PUBSUB', 'NUMSUB', wake)[2]
  return heard ~= 0 and redis.pcall('PUBLISH', wake, cmsgpack.pack(grant)) ~= 0
end

local function forget_if_free(lock)
  if redis.call('EXISTS', holders_key(lock)) == 0 then
    redis.call('ZREM', locks_key(), lock)
  end
end

-- Hands the lock to one that was in its queue; returns whether it has it. A waiter that should hear of
-- it and does not is dead, or has lost its connection and will come back with its ticket: it is passed
-- over. One that looks by itself has the lock until a short lease is over.
local function grant(lock, id, record)
  local fence = next_fence()
  local lease_end_us = now_us + math.min(record[LEASE_US], args.handover_lease_us)
  record[HANDED_US] = lease_end_us
  local told = true
  if record[JOB] then
    told = requeue_parked(unpack(record[JOB]))
  elseif record[WAKE] then
    told = tell_grant(record[WAKE], { id, fence, lease_end_us })
  end
  if told then
    add_holder(lock, id, record, fence, lease_end_us)
  else
    redis.call('HDEL', lock, id)
  end
  return told
end

-- Hands the lock to the next waiter, and so on while there are permits.
local function grant_to_waiters(lock)
  while true do
    local id = redis.call('ZRANGE', waiters_key(lock), 0, 0)[1]
    if not id then
      forget_if_free(lock)
      return
    end
    local record = read_record(lock, id)
    if record and redis.call('ZCARD', holders_key(lock)) >= limit_of(lock, record[LIMIT]) then
      return
    end
    remove_waiter(lock, id, record)
    if record and grant(lock, id, record) and not record[LIMIT] then
      return -- a mutex has one holder
    end
  end
end

-- The same for a mutex that nobody holds.
--   id: of the first waiter, which was taken from the queue
local function pass_mutex(lock, id)
  local record = read_record(lock, id)
  if record then
    forget_wait(id, record)
    if grant(lock, id, record) then
      return
    end
  end
  grant_to_waiters(lock)
end

-- The process that listens on a channel: each of its threads may have one of its own.
local function process_of(wake)
  return wake and (string.match(wake, '^(.*)/%d+$') or wake)
end

-- Takes the lock from holders whose lease is over. A holder that was handed the lock and never
-- renewed its lease has not moved since: its process is stopped or unreachable, and so are the other
-- waiters of that process. A job that was handed it has not been claimed since, and is on its queue.
--   spares_jobs: nil, or says whether jobs keep theirs; it is asked only when a job is overdue
local function expire_holders(lock, spares_jobs)
  local overdue = redis.call('ZRANGEBYSCORE', holders_key(lock), '-inf', now_us, 'WITHSCORES')
  if #overdue == 0 then
    return
  end
  local silent, any = {}, false
  for n = 1, #overdue, 2 do
    local id, lease_end_us = overdue[n], tonumber(overdue[n + 1])
    if not (spares_jobs and is_request_of_job(id) and spares_jobs()) then
      local record = read_record(lock, id)
      if record and record[HANDED_US] == lease_end_us and record[WAKE] then
        silent[process_of(record[WAKE])], any = true, true
      end
      remove_holder(lock, id)
    end
  end
  if any then
    for _, id in ipairs(redis.call('ZRANGE', waiters_key(lock), 0, -1)) do
      local record = read_record(lock, id)
      if record and silent[process_of(record[WAKE])] then
        remove_waiter(lock, id, record)
        redis.call('HDEL', lock, id)
      end
    end
  end
  grant_to_waiters(lock)
end
