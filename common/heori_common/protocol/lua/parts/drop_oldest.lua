-- drop_oldest.lua: drop the jobs that have waited longest, to keep a queue within its limit. They fail
-- where RQ's tools look; of the latest only, since a queue that overflows would fill Redis yet.
-- USES   rq_time, to_integer, end_job

local WAITS = { queued = true, created = true, deferred = true, scheduled = true, started = true }

-- Returns how many were dropped; an id whose job is gone or has ended is taken off and not counted.
--   drops: {failure_ttl, kept, body}
--        kept: how many dropped jobs to keep; body: the failure that they get, encoded
local function drop_oldest(args, drops, queue, failed, dropped, count)
  local number = 0
  for _, id in ipairs(redis.call('LPOP', queue, count) or {}) do
    local job = args.job_stem .. id
    local found = redis.pcall('HMGET', job, 'status', 'failure_ttl')
    if WAITS[found[1]] then
      local ttl = to_integer(found[2], drops.failure_ttl)
      local score = end_job(args, id, '', 'failed', ttl, now_text, 'exc_string', drops.body)
      if score then
        redis.call('HSET', job, 'heori_dropped_at', now_iso)
        redis.pcall('ZADD', failed, score, id) -- pcall: its key may hold something else
        redis.call('RPUSH', dropped, id)
      end
      number = number + 1
    end
  end
  for _ = drops.kept + 1, redis.call('LLEN', dropped) do
    local id = redis.call('LPOP', dropped)
    local job = args.job_stem .. id
    local found = redis.pcall('HMGET', job, 'status', 'heori_dropped_at', 'ended_at')
    if found[1] == 'failed' and found[2] == found[3] then -- else it was replayed since
      redis.call('UNLINK', job, args.results_stem .. id)
      redis.pcall('ZREM', failed, id)
    end
  end
  return number
end
