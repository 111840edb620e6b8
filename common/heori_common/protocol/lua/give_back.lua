-- give_back.lua: end one delivery without a result: back to the front of the queue, or,
-- when it has been delivered too often, to the failed registry, RQ's dead-letter queue.
-- Included by other scripts (see their USES line); it is never called by itself.
-- USES   whole, time, lock_clock, job_lock_keys, lock_state, tenants, lock_pass, let_go, clock, settle

-- Returns 'queued', 'dead' or 'gone' (the job was deleted, cancelled or started anew meanwhile).
--   counted: whether this delivery counts against max_deliveries (the job had started)
--   failure, evidence: should it have been the last: the encoded text, and [field, value, …]
local function give_back(args, queue, failed, id, execution, counted, failure, evidence)
  local job = args.job_stem .. id
  local found = redis.pcall('HMGET', job, 'heori_deliveries', 'failure_ttl', 'status', 'heori_execution', 'heori_locks')
  if found[5] and found[4] == execution then
    for _, want in ipairs(declared(found[5]) or {}) do
      let_go(id, { want[1] })
    end
  end
  if found[3] ~= 'started' or found[4] ~= execution then
    return 'gone'
  end
  local deliveries = whole(found[1], 1)
  if counted and deliveries >= args.max_deliveries then
    local ttl = whole(found[2], args.failure_ttl)
    local score = settle(args, id, execution, 'failed', ttl, epoch, 'exc_string', failure)
    if score then
      redis.call('HSET', job, 'heori_died_at', today, unpack(evidence or {}))
      redis.pcall('ZADD', failed, score, id) -- pcall: its key may hold something else
    end
    return 'dead'
  end
  if not counted then
    redis.call('HINCRBY', job, 'heori_deliveries', -1)
  end
  redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '')
  redis.call('LPUSH', queue, id)
  line_up(queue)
  return 'queued'
end
