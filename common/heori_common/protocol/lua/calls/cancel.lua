-- cancel.lua: cancel the jobs that wait in a queue, are scheduled for it, or wait for a lock or
-- another job, as rq's Job.cancel does; those that were claimed, or have ended, go on as they are.
-- What is cancelled expires as what has finished does.
-- KEYS   queue (list), scheduled (zset), deferred (zset), parked (zset), canceled (zset)
-- ARGS   ids
-- REPLY  msgpack [number of a cancelled id from 0, …]
-- USES   read_fields, expire_canceled

local queue, scheduled, deferred, parked, canceled = unpack(KEYS)
local found = {}
for n, id in ipairs(args.ids) do
  local job = job_key(id)
  local asked = read_fields(job, 'status', 'result_ttl')
  local status = asked.status
  local removed
  if status == 'queued' then
    removed = redis.call('LREM', queue, 1, id)
  elseif status == 'scheduled' then
    removed = redis.call('ZREM', scheduled, id)
  elseif status == 'deferred' then
    removed = redis.call('ZREM', deferred, id)
    redis.call('ZREM', parked, id) -- its place in the lock's queue is passed over
  end
  -- A stock worker may have popped it and not said so yet: then it runs.
  if removed == 1 then
    redis.call('HSET', job, 'status', 'canceled')
    redis.pcall('ZADD', canceled, expire_canceled(id, asked.result_ttl), id) -- pcall: it is cancelled all the same
    found[#found + 1] = n - 1
  end
end
return cmsgpack.pack(found)
