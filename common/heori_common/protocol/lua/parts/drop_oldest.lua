-- drop_oldest.lua: drop the jobs that have waited longest, to keep a queue within its limit. They fail
-- where RQ's tools look; of the latest only, since a queue that overflows would fill Redis yet.
-- USES   rq_time, now_text, to_integer, read_fields, end_job, forget_dependencies, rate_limit

local WAITING = { queued = true, created = true, deferred = true, scheduled = true, started = true }

-- Returns how many were dropped; an id whose job is gone or has ended is taken off and not counted.
--   drops: {failure_ttl_s, kept, body}
--        kept: how many dropped jobs to keep; body: the failure that they get, encoded
local function drop_oldest(drops, queue, failed, dropped, count)
  local number = 0
  for _, id in ipairs(redis.call('LPOP', queue, count) or {}) do
    local job = job_key(id)
    local found = read_fields(job, 'status', 'failure_ttl', 'rate_limit_key')
    if WAITING[found.status] then
      local ttl_s = to_integer(found.failure_ttl, drops.failure_ttl_s)
      local score = end_job(id, '', 'failed', ttl_s, now_text, { 'exc_string', drops.body })
      if score then
        redis.call('HSET', job, 'heori_dropped_at', now_iso)
        redis.pcall('ZADD', failed, score, id) -- pcall: its key may hold something else
        redis.call('RPUSH', dropped, id)
      end
      forget_dependencies(id, ttl_s)
      if found.rate_limit_key and found.rate_limit_key ~= '' then
        free_slot(id, found.rate_limit_key)
      end
      number = number + 1
    end
  end
  for _ = drops.kept + 1, redis.call('LLEN', dropped) do
    local id = redis.call('LPOP', dropped)
    local job = job_key(id)
    local found = read_fields(job, 'status', 'heori_dropped_at', 'ended_at')
    if found.status == 'failed' and found.heori_dropped_at == found.ended_at then -- else it was replayed since
      redis.call('UNLINK', job, results_key(id))
      redis.pcall('ZREM', failed, id)
    end
  end
  return number
end
