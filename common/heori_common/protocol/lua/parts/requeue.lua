-- requeue.lua: end one delivery without a result: back to the front of the queue, or,
-- when it has been delivered too often, to the failed registry, RQ's dead-letter queue. What was asked
-- for, and has not begun, is cancelled: see ask_consumers.lua.
-- A job that has died with its worker uses one of its retries, if it has any, as with RQ. It runs alone
-- then. Has it none left, and dies again, it is delivered no more.
-- ARGS   max_deliveries, failure_ttl_s
-- USES   rq_time, now_text, to_integer, read_fields, arrivals, job_locks, end_job, forget_dependencies, queue_names,
--        expire_canceled, retry, rate_limit

local ALONE = 2 -- the suspicion with which a job gets a process of its own

-- Returns 'queued', 'dead' or 'gone' (the job was deleted, cancelled or started anew meanwhile).
--   counted: whether this delivery counts against max_deliveries (the job had started); 'last' if it has no
--   other, whatever it counts: a person had it killed
--   failure, evidence: for the last delivery that it may have: the encoded text, and [field, value, …];
--   where it is not counted: what to add, or nil
local function requeue(queue, failed, id, execution, counted, failure, evidence)
  local job = job_key(id)
  local found = read_fields(job, 'status', 'heori_execution', 'heori_deliveries', 'heori_locks', 'failure_ttl',
    'result_ttl', 'heori_recalled', 'retries_left', 'retry_intervals', 'heori_suspicion', 'rate_limit_key', 'ttl',
    'heori_abandoned')
  local limit = (found.rate_limit_key or '') ~= '' and found.rate_limit_key
  if found.heori_locks and found.heori_execution == execution then
    for _, want in ipairs(declared_locks(found.heori_locks) or {}) do
      release_job_locks(id, { want[1] })
    end
  end
  if found.status ~= 'started' or found.heori_execution ~= execution then
    if limit then
      free_slot(id, limit)
    end
    return 'gone'
  end
  if found.heori_abandoned == execution then
    counted = 'last' -- it has died with a stock worker, and was claimed for its callbacks alone
  end
  local has_begun = counted or evidence and #evidence > 0
  if found.heori_recalled == execution and not has_begun then
    redis.call('HSET', job, 'status', 'canceled', 'heori_execution', '')
    local canceled = canceled_key(queue_name(queue))
    redis.pcall('ZADD', canceled, expire_canceled(id, found.result_ttl), id) -- pcall: it is cancelled all the same
    if limit then
      free_slot(id, limit)
    end
    return 'gone'
  end
  local deliveries = to_integer(found.heori_deliveries, 1)
  local left = to_integer(found.retries_left, -1)
  local suspicion = to_integer(found.heori_suspicion, 0)
  if counted and left > 0 then
    local after = counted == 'last' and suspicion or math.max(suspicion, ALONE)
    redis.call('HSET', job, 'heori_execution', '', 'heori_suspicion', after)
    local scheduled = scheduled_key(whole_name(queue_name(queue)))
    retry_job(queue, scheduled, id, '', retry_interval(found.retry_intervals, left), left - 1)
    if limit then
      free_slot(id, limit)
    end
    return 'queued'
  elseif counted == 'last' or counted
    and (deliveries >= args.max_deliveries or left == 0 and suspicion >= ALONE) then
    local ttl_s = to_integer(found.failure_ttl, args.failure_ttl_s)
    local score = end_job(id, execution, 'failed', ttl_s, now_text, failure and { 'exc_string', failure } or {})
    forget_dependencies(id, ttl_s)
    if score then
      redis.call('HSET', job, 'heori_died_at', now_iso, 'heori_execution', '', unpack(evidence or {}))
      redis.pcall('ZADD', failed, score, id) -- pcall: its key may hold something else
    end
    if limit then
      free_slot(id, limit)
    end
    return 'dead'
  end
  if not counted then
    redis.call('HINCRBY', job, 'heori_deliveries', -1)
    for n = 1, evidence and #evidence or 0, 2 do
      redis.pcall('HINCRBY', job, evidence[n], evidence[n + 1]) -- pcall: the field may hold anything
    end
  end
  redis.call('HSET', job, 'status', 'queued', 'started_at', '', 'worker_name', '', 'heori_execution', '')
  local ttl_s = to_integer(found.ttl, 0)
  if ttl_s > 0 then
    redis.call('EXPIRE', job, ttl_s) -- for which it may wait there
  end
  redis.call('LPUSH', queue, id)
  jobs_arrived(queue, 1)
  return 'queued'
end
