-- returned_retry.lua: have a job run again that has returned rq's Retry, as rq's handle_job_retry does.
-- USES   rq_time, read_fields, to_integer, end_job, retry, run_again

local RETRIED = '4' -- of rq's Result.Type

-- Whether it has had as many of these as it may.
local function has_retried_enough(id, most)
  local number = to_integer(read_fields(job_key(id), 'number_of_retries').number_of_retries, 0)
  return number > 0 and number >= (tonumber(most) or 0)
end

-- Returns the key that holds something else and so could not take the job, or false.
--   ttl_s, started_text, fields: of its result, as for end_job
local function retry_returned(queue, scheduled, id, execution, intervals, at_front, ttl_s, started_text, fields)
  local job = job_key(id)
  if redis.call('EXISTS', job) == 0 then
    return false -- deleted meanwhile
  end
  local unable = false
  if ttl_s ~= 0 then
    unable = select(2, write_result(id, execution, RETRIED, ttl_s, started_text, fields))
  end
  local found = read_fields(job, 'number_of_retries', 'ttl', 'enqueue_at_front_on_retry')
  local number = to_integer(found.number_of_retries, 0)
  redis.pcall('HSET', job, 'number_of_retries', number + 1, 'ended_at', now_iso)
  if at_front then
    found.enqueue_at_front_on_retry = '1'
    redis.pcall('HSET', job, 'enqueue_at_front_on_retry', '1')
  end
  begin_new_try(job)
  local delay_s = tonumber(intervals[math.min(number + 1, #intervals)]) or 0
  return run_again(queue, scheduled, id, execution, delay_s, found) or unable
end
