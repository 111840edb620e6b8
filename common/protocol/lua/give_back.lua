-- give_back.lua: end one delivery without a result: back to the front of the queue, or,
-- when it has been delivered too often, to the failed registry, RQ's dead-letter queue.
-- Included by other scripts (see their USES line); it is never called by itself.
-- USES   clock, settle

-- Returns 'queued', 'dead' or 'gone' (the job was deleted or cancelled meanwhile).
--   counted: whether this delivery counts against max_deliveries (the job had started)
local function give_back(args, queue, failed, id, execution, counted, evidence)
  local job = args.job_stem .. id
  local found = redis.pcall('HMGET', job, 'heori_deliveries', 'failure_ttl', 'status')
  if found[3] ~= 'started' then
    return 'gone'
  end
  local deliveries = tonumber(found[1]) or 1
  if counted and deliveries >= args.max_deliveries then
    local ttl = tonumber(found[2]) or args.failure_ttl
    settle(args, id, execution, 'failed', failed, ttl, epoch, 'exc_string', evidence)
    return 'dead'
  end
  if not counted then
    redis.call('HINCRBY', job, 'heori_deliveries', -1)
  end
  redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '')
  redis.call('LPUSH', queue, id)
  return 'queued'
end
