-- run_again.lua: put a job that was claimed where it is claimed again, now or later.
-- USES   now_s, rq_time, to_integer, arrivals

-- Returns the key that holds something else and so could not take the job, or false.
--   execution: that has ended; the next claim writes its own into the hash, and this one may have to be
--   known when its acknowledgement is sent again
--   found: its fields ttl, which RQ counts from here, whether it is queued or scheduled, and
--   enqueue_at_front_on_retry
local function run_again(queue, scheduled, id, execution, delay_s, found)
  local job = job_key(id)
  redis.pcall('HSET', job, 'status', delay_s > 0 and 'scheduled' or 'queued', 'worker_name', '',
    'heori_settled', execution)
  local ttl_s = to_integer(found.ttl, 0)
  if ttl_s > 0 then
    redis.call('EXPIRE', job, ttl_s)
  end
  local done
  if delay_s > 0 then
    done = redis.pcall('ZADD', scheduled, string.format('%.3f', now_s + delay_s), id)
    if type(done) ~= 'table' then
      return false
    end
    redis.pcall('HSET', job, 'status', 'queued') -- at once rather than never
  end
  redis.pcall('HSET', job, 'enqueued_at', now_iso)
  local queued = redis.pcall(found.enqueue_at_front_on_retry == '1' and 'LPUSH' or 'RPUSH', queue, id)
  if type(queued) == 'table' then
    return queue
  end
  jobs_arrived(queue, 1)
  return done and scheduled or false
end
