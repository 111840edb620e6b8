-- retry.lua: have a job that failed run again, now or later, as rq's Job.retry does.
-- USES   now_s, rq_time, tenants

-- Returns the key that holds something else and so could not take the job, or false.
--   left: how many more times after this one
local function retry_job(queue, scheduled, id, delay_s, left)
  local job = job_key(id)
  if redis.call('EXISTS', job) == 0 then
    return false -- deleted meanwhile
  end
  local status = delay_s > 0 and 'scheduled' or 'queued'
  redis.pcall('HSET', job, 'status', status, 'retries_left', left, 'ended_at', now_iso,
    'heori_deliveries', 0, 'worker_name', '')
  local done
  if delay_s > 0 then
    done = redis.pcall('ZADD', scheduled, string.format('%.3f', now_s + delay_s), id)
    if type(done) ~= 'table' then
      return false
    end
    redis.pcall('HSET', job, 'status', 'queued') -- at once rather than never
  end
  redis.pcall('HSET', job, 'enqueued_at', now_iso)
  local front = redis.pcall('HGET', job, 'enqueue_at_front_on_retry') == '1'
  local queued = redis.pcall(front and 'LPUSH' or 'RPUSH', queue, id)
  if type(queued) == 'table' then
    return queue
  end
  join_turns(queue)
  return done and scheduled or false
end
