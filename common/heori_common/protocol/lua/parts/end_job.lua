-- end_job.lua: write the end of one execution where RQ's readers look for it.
-- ARGS   consumer
-- USES   now_s, rq_time, now_text, to_integer, read_fields, ended

local FINISHED, FAILED = '1', '2' -- of rq 3.0.0's Result.Type; what is stopped has failed

local last_ttl_s, last_score -- of the job before: most have the same

-- Returns the score of the job in the registry of those that have ended so, and the key of the results,
-- if it holds something else and could not take this one, or false.
--   result_type: of rq's; ttl_s: -1 for ever
--   started_text: when it began, as now_text has it
--   fields: [field, value, …] beside those of rq's that tell who and when
local function write_result(id, execution, result_type, ttl_s, started_text, fields)
  local results = results_key(id)
  local added = redis.pcall('XADD', results, 'MAXLEN', '~', '10', '*', 'type', result_type, 'worker_name',
    args.consumer, 'execution_id', execution, 'execution_started_at', started_text, 'execution_ended_at', now_text,
    unpack(fields))
  local broken = type(added) == 'table' and results
  if ttl_s < 0 then
    redis.call('PERSIST', results) -- an earlier result may have expired with its job
    return result_type == FINISHED and '+inf' or -1, broken -- as rq's registries write it
  end
  redis.call('EXPIRE', results, ttl_s)
  if ttl_s ~= last_ttl_s then
    last_ttl_s, last_score = ttl_s, string.format('%.6f', now_s + ttl_s)
  end
  return last_score, broken
end

-- Returns the score with which the caller puts the id into the registry of that status; or false,
-- when the job was deleted meanwhile or is not to be kept. Then the key of the results, if it
-- holds something else and could not take this one; and the word that was left of it, if others wait for
-- its end.
--   status: 'finished', 'failed' or 'stopped'; ttl_s: -1 for ever, 0 not at all
--   result_type: where it is not the usual one of that status, false for no result; none_wait: whether it
--   is known that no others wait for its end; the rest as for write_result
local function end_job(id, execution, status, ttl_s, started_text, fields, result_type, none_wait)
  local job = job_key(id)
  local mark = not none_wait and mark_ended(id, status, ttl_s)
  if ttl_s == 0 then
    redis.call('DEL', job, results_key(id))
    return false, false, mark
  end
  -- one call both tells whether the job is there and lets it expire with its result
  if (ttl_s > 0 and redis.call('EXPIRE', job, ttl_s) or redis.call('EXISTS', job)) == 0 then
    return false, false, mark
  end
  local written
  -- pcall: either key may hold something else; what can be written still tells
  if status == 'finished' then
    written = redis.pcall('HSET', job, 'status', status, 'ended_at', now_iso)
  else
    -- Whoever queues it again, as `rq requeue` does, begins a new try: see retry.lua.
    local before = read_fields(job, 'heori_deliveries', 'heori_earlier')
    local earlier = to_integer(before.heori_earlier, 0) + to_integer(before.heori_deliveries, 0)
    written = redis.pcall('HSET', job, 'status', status, 'ended_at', now_iso, 'heori_deliveries', 0,
      'heori_earlier', earlier)
  end
  if type(written) == 'table' then
    redis.call('PERSIST', job) -- whatever it is, it is not ours to expire
  end
  if result_type == false then
    return false, false, mark
  end
  result_type = result_type or status == 'finished' and FINISHED or FAILED
  local score, broken = write_result(id, execution, result_type, ttl_s, started_text, fields)
  return score, broken, mark
end
