-- run_again.lua: put a job that was claimed where it is claimed again, now or later.
-- USES   now_s, rq_time, arrivals

-- Returns the key that holds something else and so could not take the job, or false.
--   execution: that has ended; the next claim writes its own into the hash, and this one may have to be
--   known when its acknowledgement is sent again
local function run_again(queue, scheduled, id, execution, delay_s)
  local job = job_key(id)
  redis.pcall('HSET', job, 'status', delay_s > 0 and 'scheduled' or 'queued', 'worker_name', '',
    'heori_settled', execution)
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
  jobs_arrived(queue, 1)
  return done and scheduled or false
end
