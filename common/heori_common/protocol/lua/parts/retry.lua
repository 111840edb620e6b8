-- retry.lua: have a job that failed run again, now or later, as rq's Job.retry does.
-- `heori_deliveries` counts those of one try; `heori_earlier` has the others together.
-- USES   rq_time, read_fields, to_integer, run_again

-- Seconds before the next retry, as rq's Job.get_retry_interval says.
local function retry_interval(intervals, left)
  local ok, listed = pcall(cjson.decode, intervals or '')
  listed = ok and type(listed) == 'table' and listed or {}
  return tonumber(listed[math.max(#listed - left, 0) + 1]) or 0
end

local function begin_new_try(job)
  local before = read_fields(job, 'heori_deliveries', 'heori_earlier', 'heori_vanished')
  local earlier = to_integer(before.heori_earlier, 0) + to_integer(before.heori_deliveries, 1)
  redis.pcall('HSET', job, 'heori_deliveries', 0, 'heori_earlier', earlier)
  if before.heori_vanished then
    redis.pcall('HDEL', job, 'heori_vanished') -- those are among the earlier ones now
  end
end

-- Returns the key that holds something else and so could not take the job, or false.
--   execution: that failed; left: how many more times after this one
local function retry_job(queue, scheduled, id, execution, delay_s, left)
  local job = job_key(id)
  if redis.call('EXISTS', job) == 0 then
    return false -- deleted meanwhile
  end
  redis.pcall('HSET', job, 'retries_left', left, 'ended_at', now_iso)
  begin_new_try(job)
  local found = read_fields(job, 'ttl', 'enqueue_at_front_on_retry')
  return run_again(queue, scheduled, id, execution, delay_s, found)
end
