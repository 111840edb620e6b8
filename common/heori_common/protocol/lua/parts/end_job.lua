-- end_job.lua: write the end of one execution where RQ's readers look for it.
-- ARGS   consumer
-- USES   now_s, rq_time

local LONG_ENOUGH_S = 60 -- for the jobs that wait for one which is kept for no time: it is read for them
local RESULT = { finished = '1', failed = '2', stopped = '2' } -- as rq 3.0.0 uses Result.Type

-- Returns the score with which the caller puts the id into the registry of that status; or false,
-- when the job was deleted meanwhile or is not to be kept. Then the key of the results, if it
-- holds something else and could not take this one; and whether other jobs wait for this one.
--   status: 'finished', 'failed' or 'stopped'; ttl_s: -1 for ever, 0 not at all
--   started_text: when it began, as now_text has it
--   fields: [field, value, …] of the result in the stream, beside those of rq's that tell who and when
local function end_job(id, execution, status, ttl_s, started_text, fields)
  local job = job_key(id)
  local results = results_key(id)
  local dependents = dependents_key(id)
  local is_waited_for = redis.call('EXISTS', dependents) == 1
  if is_waited_for and ttl_s >= 0 then
    ttl_s = ttl_s > 0 and ttl_s or LONG_ENOUGH_S
    redis.call('EXPIRE', dependents, ttl_s)
  elseif ttl_s == 0 then
    redis.call('DEL', job, results)
    return false
  end
  -- one call both tells whether the job is there and lets it expire with its result
  if (ttl_s > 0 and redis.call('EXPIRE', job, ttl_s) or redis.call('EXISTS', job)) == 0 then
    return false
  end
  -- pcall: either key may hold something else; what can be written still tells
  if type(redis.pcall('HSET', job, 'status', status, 'ended_at', now_iso)) == 'table' then
    redis.call('PERSIST', job) -- whatever it is, it is not ours to expire
  end
  local added = redis.pcall('XADD', results, 'MAXLEN', '~', 10, '*', 'type', RESULT[status], 'worker_name',
    args.consumer, 'execution_id', execution, 'execution_started_at', started_text, 'execution_ended_at', now_text,
    unpack(fields))
  local broken = type(added) == 'table' and results
  if ttl_s < 0 then
    redis.call('PERSIST', results) -- an earlier result may have expired with its job
    return '+inf', broken, is_waited_for
  end
  redis.call('EXPIRE', results, ttl_s)
  return math.floor(now_s) + ttl_s, broken, is_waited_for
end
