-- cancel.lua: cancel the jobs that wait in a queue, are scheduled for it, or wait for a lock, a rate,
-- another job or a slot of a rate limit, as rq's Job.cancel does; those that were claimed, or have ended, go on
-- as they are.
-- What is cancelled expires as what has finished does.
-- KEYS   queue (list), scheduled (zset), deferred (zset), parked (zset), canceled (zset)
-- ARGS   ids
-- REPLY  msgpack [number of a cancelled id from 0, …]
-- FULL   passes
-- USES   read_fields, expire_canceled

local rare -- made for the first job that has a limit or options
local function make_rare()
  -- USES   rate_limit, rates
  return { free_slot = free_slot, line_of = line_of }
end

local queue, scheduled, deferred, parked, canceled = unpack(KEYS)
local found = {}
for n, id in ipairs(args.ids) do
  local job = job_key(id)
  local asked = read_fields(job, 'status', 'result_ttl', 'rate_limit_key', 'heori_options',
    'heori_paused')
  local status = asked.status
  local removed
  if status == 'queued' then
    removed = redis.call('LREM', queue, 1, id)
  elseif status == 'scheduled' then
    removed = redis.call('ZREM', scheduled, id)
  elseif status == 'deferred' then
    removed = redis.call('ZREM', deferred, id)
    redis.call('ZREM', parked, id) -- its place in the lock's queue is passed over
  elseif status == 'rate_limited' and asked.rate_limit_key then
    removed = redis.pcall('ZREM', limit_waiting_key(asked.rate_limit_key), id)
  end
  if removed == 1 and asked.heori_paused then
    redis.pcall('ZREM', paused_jobs_key(asked.heori_paused), id)
  end
  if removed == 1 and asked.heori_options then
    rare = rare or make_rare()
    local line = rare.line_of(queue, asked.heori_options)
    if line then
      redis.pcall('ZREM', line, id) -- pcall: it may hold something else
    end
  end
  -- A stock worker may have popped it and not said so yet: then it runs.
  if removed == 1 then
    redis.call('HSET', job, 'status', 'canceled')
    redis.pcall('ZADD', canceled, expire_canceled(id, asked.result_ttl), id) -- pcall: it is cancelled all the same
    if asked.rate_limit_key and asked.rate_limit_key ~= '' then
      rare = rare or make_rare()
      rare.free_slot(id, asked.rate_limit_key)
    end
    found[#found + 1] = n - 1
  end
end
return cmsgpack.pack(found)
