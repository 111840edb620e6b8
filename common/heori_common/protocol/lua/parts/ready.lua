-- ready.lua: jobs that wait for no other any more, and were not put on their queue: the stock worker that was
-- to do it has died, or another came in between.
-- USES   now_s, rq_time, has_type, read_fields, arrivals, rate_limit

-- Queues those that have been so since a time, so many at most; returns how many it has looked at.
local function enqueue_ready(name, since_s, most)
  local queue, ready = queue_key(name), ready_key(name)
  local left = redis.pcall('ZRANGEBYSCORE', ready, '-inf', since_s, 'LIMIT', 0, most)
  left = has_type('list', queue) and not left.err and left or {}
  for _, id in ipairs(left) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'rate_limit_key', 'rate_limit_concurrency', 'ttl', 'enqueue_at_front')
    if found.status == 'ready_to_enqueue' and not wait_for_slot(id, found, false) then
      redis.call('HSET', job, 'status', 'queued', 'enqueued_at', now_iso)
      redis.call(found.enqueue_at_front == '1' and 'LPUSH' or 'RPUSH', queue, id)
      jobs_arrived(queue, 1)
    end
    redis.call('ZREM', ready, id)
  end
  return #left
end
