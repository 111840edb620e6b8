-- requeue.lua: end one delivery without a result: back to the front of the queue, or,
-- when it has been delivered too often, to the failed registry, RQ's dead-letter queue.
-- USES   rq_time, to_integer, tenants, job_locks, end_job

-- Returns 'queued', 'dead' or 'gone' (the job was deleted, cancelled or started anew meanwhile).
--   counted: whether this delivery counts against max_deliveries (the job had started)
--   failure, evidence: should it have been the last: the encoded text, and [field, value, …]
local function requeue(args, queue, failed, id, execution, counted, failure, evidence)
  local job = args.job_stem .. id
  local found = redis.pcall('HMGET', job, 'heori_deliveries', 'failure_ttl', 'status', 'heori_execution', 'heori_locks')
  if found[5] and found[4] == execution then
    for _, want in ipairs(declared_locks(found[5]) or {}) do
      release_job_locks(id, { want[1] })
    end
  end
  if found[3] ~= 'started' or found[4] ~= execution then
    return 'gone'
  end
  local deliveries = to_integer(found[1], 1)
  if counted and deliveries >= args.max_deliveries then
    local ttl = to_integer(found[2], args.failure_ttl)
    local score = end_job(args, id, execution, 'failed', ttl, now_text, 'exc_string', failure)
    if score then
      redis.call('HSET', job, 'heori_died_at', now_iso, unpack(evidence or {}))
      redis.pcall('ZADD', failed, score, id) -- pcall: its key may hold something else
    end
    return 'dead'
  end
  if not counted then
    redis.call('HINCRBY', job, 'heori_deliveries', -1)
  end
  redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '')
  redis.call('LPUSH', queue, id)
  join_turns(queue)
  return 'queued'
end
