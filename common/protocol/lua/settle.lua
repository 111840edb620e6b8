-- settle.lua: write the end of one execution where RQ's readers look for it.
-- Included by other scripts (see their USES line); it is never called by itself.
-- USES   clock

local RESULT = { finished = '1', failed = '2' } -- rq.results.Result.Type

-- Returns false when the job was deleted meanwhile: then there is nothing to write.
--   status: 'finished' or 'failed'; registry: its zset; ttl: seconds, -1 for ever, 0 not at all
--   field, body: the result's field in the stream and its value, or false for none
local function settle(args, id, execution, status, registry, ttl, started, field, body)
  local job = args.job_stem .. id
  if redis.call('EXISTS', job) == 0 then
    return false
  end
  if ttl == 0 then
    redis.call('DEL', job)
    return true
  end
  -- pcall: the key may hold something else than a hash; the result and the registry still tell
  local broken = type(redis.pcall('HSET', job, 'status', status, 'ended_at', today)) == 'table'
  local results = args.results_stem .. id
  if body then
    redis.call('XADD', results, 'MAXLEN', '~', 10, '*', 'type', RESULT[status], 'worker_name', args.consumer,
      field, body, 'execution_id', execution, 'execution_started_at', started, 'execution_ended_at', epoch)
  else
    redis.call('XADD', results, 'MAXLEN', '~', 10, '*', 'type', RESULT[status], 'worker_name', args.consumer,
      'execution_id', execution, 'execution_started_at', started, 'execution_ended_at', epoch)
  end
  if ttl < 0 then
    redis.call('ZADD', registry, '+inf', id)
  else
    redis.call('ZADD', registry, math.floor(now) + ttl, id)
    redis.call('EXPIRE', results, ttl)
    if not broken then
      redis.call('EXPIRE', job, ttl)
    end
  end
  return true
end
