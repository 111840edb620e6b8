-- repeats.lua: have a job that has finished run once more, as rq's Repeat.schedule does.
-- USES   read_fields, to_integer, rq_time, retry, run_again

-- Whether it is to run again; false also when it was deleted meanwhile.
local function has_repeats(id)
  return to_integer(read_fields(job_key(id), 'repeats_left').repeats_left, 0) > 0
end

-- Returns the key that holds something else and so could not take the job, or false.
--   execution: that has finished
local function repeat_job(queue, scheduled, id, execution)
  local job = job_key(id)
  local found = read_fields(job, 'repeats_left', 'repeat_intervals', 'ttl')
  local ok, intervals = pcall(cjson.decode, found.repeat_intervals or '')
  intervals = ok and type(intervals) == 'table' and intervals or {}
  local delay_s = tonumber(intervals[1]) or 0
  if #intervals > 1 then
    table.remove(intervals, 1)
    redis.call('HSET', job, 'repeat_intervals', cjson.encode(intervals))
  end
  redis.call('HSET', job, 'repeats_left', to_integer(found.repeats_left, 1) - 1, 'ended_at', now_iso)
  begin_new_try(job)
  return run_again(queue, scheduled, id, execution, delay_s, found) -- at the back, as it is no retry
end
