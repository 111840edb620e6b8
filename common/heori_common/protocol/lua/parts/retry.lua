-- retry.lua: have a job that failed run again, now or later, as rq's Job.retry does.
-- `heori_deliveries` counts those of one try; `heori_earlier` has the others together.
-- USES   rq_time, read_fields, to_integer, run_again

-- Returns the key that holds something else and so could not take the job, or false.
--   execution: that failed; left: how many more times after this one
local function retry_job(queue, scheduled, id, execution, delay_s, left)
  local job = job_key(id)
  if redis.call('EXISTS', job) == 0 then
    return false -- deleted meanwhile
  end
  local before = read_fields(job, 'heori_deliveries', 'heori_earlier')
  local earlier = to_integer(before.heori_earlier, 0) + to_integer(before.heori_deliveries, 1)
  redis.pcall('HSET', job, 'retries_left', left, 'ended_at', now_iso, 'heori_deliveries', 0,
    'heori_earlier', earlier)
  return run_again(queue, scheduled, id, execution, delay_s)
end
