-- rate_limit.lua: RQ's limits for how many jobs of one kind are queued or run at once (rq 3.0.0,
-- rq/rate_limit.py). A job that is let through holds a slot from being queued until it has ended or is
-- scheduled; all others wait in a zset of the limit, with the status rate_limited.
-- USES   now_s, rq_time, read_fields, to_integer, arrivals

-- Lets jobs through while there are free slots, oldest first. What stands there of jobs that are gone or
-- have gone another way is dropped. A limit that nobody needs any more is forgotten.
local function let_through(limit)
  local allowed, waiting = limit_allowed_key(limit), limit_waiting_key(limit)
  local most = to_integer(redis.call('HGET', limit_key(limit), 'concurrency'), 0)
  while redis.call('ZCARD', allowed) < most do
    local id = redis.call('ZPOPMIN', waiting)[1]
    if not id then
      break
    end
    local job = job_key(id)
    local found = read_fields(job, 'origin', 'status', 'enqueue_at_front')
    if found.origin and found.status == 'rate_limited' then
      local queue = queue_key(found.origin)
      redis.call('ZADD', allowed, now_s, id)
      redis.call(found.enqueue_at_front == '1' and 'LPUSH' or 'RPUSH', queue, id)
      redis.call('HSET', job, 'status', 'queued', 'enqueued_at', now_iso)
      jobs_arrived(queue, 1)
    end
  end
  if redis.call('EXISTS', allowed, waiting) == 0 then
    redis.call('SREM', limits_key(), limit)
    redis.call('DEL', limit_key(limit))
  end
end

-- Has a job wait for a slot, and lets it through if there is one. Returns false where its limit is none.
--   found: its fields rate_limit_key, rate_limit_concurrency and ttl
local function wait_for_slot(id, found, at_front)
  local limit, most = found.rate_limit_key or '', to_integer(found.rate_limit_concurrency, 0)
  if limit == '' or most < 1 then
    return false
  end
  local job = job_key(id)
  redis.call('SADD', limits_key(), limit)
  redis.call('HSET', limit_key(limit), 'concurrency', most)
  redis.call('ZADD', limit_waiting_key(limit), now_s, id)
  redis.call('HSET', job, 'status', 'rate_limited')
  if at_front then
    redis.call('HSET', job, 'enqueue_at_front', '1')
  end
  local ttl_s = to_integer(found.ttl, 0)
  if ttl_s > 0 then
    redis.call('EXPIRE', job, ttl_s)
  end
  let_through(limit)
  return true
end

-- Frees the slot of a job that has ended, is scheduled, or waits for none any more. One that is queued
-- again at once keeps it.
local function free_slot(id, limit)
  local status = read_fields(job_key(id), 'status').status
  if status == 'queued' or status == 'started' then
    return
  end
  -- pcall: keys that hold something else must not keep the job from its end
  pcall(function()
    redis.call('ZREM', limit_allowed_key(limit), id)
    redis.call('ZREM', limit_waiting_key(limit), id)
    let_through(limit)
  end)
end
